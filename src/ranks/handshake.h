// The greeting of rank 0 and a newcomer: each draws a number, each proves over both that it knows the secret.
#pragma once

#include <optional>
#include <string>

#include "src/ranks/join.h"

namespace seer {

/// Rank 0 opens with it.
struct Challenge {
  uint32_t version = kProtocolVersion;
  std::string nonce;

  std::string encode() const;
  static Challenge decode(std::string_view body);
};

/// The newcomer's answer.
struct Introduction {
  uint32_t version = kProtocolVersion;
  Member member;
  int size = 1;
  std::string nonce;
  std::string proof;  ///< Over all of the above and the challenge's nonce

  void sign(std::string_view secret, const Challenge& challenge);
  bool signed_by(std::string_view secret, const Challenge& challenge) const;
  std::string encode() const;
  static Introduction decode(std::string_view body);

 private:
  std::string signed_part(const Challenge& challenge) const;
};

/// Rank 0's last word. Its proof tells the newcomer that this is rank 0 of its own start.
struct Verdict {
  bool accepted = false;
  std::string why;  ///< If not
  std::string proof;

  void sign(std::string_view secret, const Challenge& challenge, const Introduction& introduction);
  bool signed_by(std::string_view secret, const Challenge& challenge, const Introduction& introduction) const;
  std::string encode() const;
  static Verdict decode(std::string_view body);

 private:
  std::string signed_part(const Challenge& challenge, const Introduction& introduction) const;
};

std::string encode_members(const std::vector<Member>& members);
std::vector<Member> decode_members(std::string_view body);

}  // namespace seer
