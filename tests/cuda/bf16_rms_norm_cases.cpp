// RMSNorm over bf16 rows and heads, of widths that the kernels treat differently.
#include "tests/cuda/bf16_case.h"

namespace seer::test {

Bf16Cases bf16_rms_norm_cases() {
  struct Norm {
    std::string name;
    Shape shape;
    double eps = 1e-6;
    double scale = 1.0;
  };
  const std::vector<Norm> norms = {{"odd_rows", Shape{131, 77}},
                                   {"one", Shape{1, 1}},
                                   {"rows_2048", Shape{9, 2048}},
                                   {"rows_3072", Shape{5, 3072}},
                                   {"rows_5120", Shape{3, 5120}},
                                   {"rows_8191", Shape{3, 8191}},
                                   {"rows_16384", Shape{2, 16384}},
                                   {"heads_of_16", Shape{67, 5, 16}},
                                   {"heads_of_20", Shape{67, 3, 20}},
                                   {"heads_of_64", Shape{33, 8, 64}},
                                   {"heads_of_128", Shape{131, 6, 128}},
                                   {"heads_of_256", Shape{5, 2, 256}},
                                   {"eps_matters", Shape{9, 64}, 1e-2, 0.05},
                                   {"large_values", Shape{9, 1030}, 1e-6, 1e4}};
  Bf16Cases cases;
  for (const Norm& norm : norms) {
    for (const Rows layout : kAllRows) {
      for (const bool in_place : {false, true}) {
        if (norm.shape[norm.shape.rank() - 1] == 16384 && layout == Rows::kOdd) continue;  // 8192 unaligned
        cases.push_back(
            {fmt::format("rms_norm_{}_{}{}", norm.name, name_of(layout), in_place ? "_in_place" : ""),
             [=](Device& device) {
               const int64_t channels = norm.shape[norm.shape.rank() - 1];
               const Activation x(device, norm.shape, layout, bf16_values(3, norm.shape.numel(), norm.scale));
               const Tensor weight = device.upload(Shape{channels}, bf16_values(4, channels), act(device));
               const Activation out = in_place ? x : Activation(device, norm.shape, layout);
               device.backend().rms_norm(device.queue(), x, weight, norm.eps, out);
               return outputs_of(out);
             }});
      }
    }
  }
  return cases;
}

}  // namespace seer::test
