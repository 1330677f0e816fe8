// The vector extension of RISC-V. It has 32 registers, whose length is the one that the compiler
// was told (-mrvv-vector-bits=zvl).
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_RVV_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_RVV_H_

#include <riscv_vector.h>

#include <cstdint>

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = __riscv_v_fixed_vlen / 32;
constexpr int kRows = 6;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {
  using PortableInstructions::load_some;
  using PortableInstructions::store_some;

#if defined(LSTM_IMPL_MASKS)
  static LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
    const auto lanes = static_cast<std::size_t>(kLanes);
    vfloat32m1_t value = __riscv_vfmv_v_f_f32m1(0.0f, lanes);
    value = __riscv_vle32_v_f32m1_tu(value, from, static_cast<std::size_t>(count));
    Vector found;
    __riscv_vse32_v_f32m1(reinterpret_cast<float*>(&found), value, lanes);
    return found;
  }
  static LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
    const auto some = static_cast<std::size_t>(count);
    __riscv_vse32_v_f32m1(to, __riscv_vle32_v_f32m1(reinterpret_cast<float*>(&value), some), some);
  }
#endif
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_RVV_H_
