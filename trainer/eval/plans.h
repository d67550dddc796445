// From flags to how prefills attend.
#pragma once

#include <string>
#include <vector>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/forward_pass.h"
#include "trainer/eval/selection_flags.h"

namespace seer {

/// Every method with every rule of the flags; without a rule, with the one that the gates' config.json asks for; methods that
/// the flags give values by head, with those. Methods of `besides` are left out where there is no rule for them. Reads no more
/// than config files. Throws usage Errors, also of flags that would not be used.
std::vector<AttentionPlan> plans_of(const EvalModelOptions& model, const ModelConfig& config,
                                    const SelectionFlags& selection, const std::vector<std::string>& methods,
                                    const std::vector<std::string>& besides = {});
/// Has all methods keep the last rows whole where the gates' config.json says so (seerattn_last_block_dense), whatever the
/// rule, unless --dense-last-rows was given or a method has values by head: what gates are used for follows their config,
/// `eval ppl` compares under the rules of the flags.
void follow_config(const std::string& gates, const SelectionFlags& selection,
                   std::vector<AttentionPlan>& plans);
/// Of one method, where there can be but one rule; as its gates' config says (follow_config()).
AttentionPlan one_plan_of(const EvalModelOptions& model, const ModelConfig& config,
                          const SelectionFlags& selection, const std::string& method);

/// Says so where gates choose among blocks of texts that begin with BOS, and the first block is not kept whatever its score:
/// what makes good gates look bad.
void hint_at_bos(const Tokenizer* tokenizer, const std::vector<AttentionPlan>& plans);

/// Warns, and returns true, where thresholds by head were calibrated at another length than sequences of `tokens`: their
/// density is then another.
bool hint_at_length(const std::vector<AttentionPlan>& plans, int64_t tokens);

/// "nz_ratio 0.1, sink 1", or "threshold by head 85c75f3b": different plans of a method have different texts.
std::string rule_text(const AttentionPlan& plan);

}  // namespace seer
