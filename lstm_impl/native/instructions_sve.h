// SVE. It has 32 registers, whose length is the one that the compiler was told (-msve-vector-bits).
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_SVE_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_SVE_H_

#include <arm_sve.h>
#include <sys/auxv.h>

#include <cstdint>

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = __ARM_FEATURE_SVE_BITS / 32;
constexpr int kRows = 6;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {
  // The compiler's vectors of this length are SVE registers.
  using Floats = svfloat32_t __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)));

  static LSTM_IMPL_INLINE void hold(Vector& value) {
    Floats held = value;
    asm("" : "+w"(held));
    value = held;
  }

  using PortableInstructions::load_some;
  using PortableInstructions::store_some;
#if defined(LSTM_IMPL_MASKS)
  static LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
    const Floats value = svld1_f32(first_lanes(count), from);
    return value;
  }
  static LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
    const Floats stored = value;
    svst1_f32(first_lanes(count), to, stored);
  }
#endif

 private:
  static LSTM_IMPL_INLINE svbool_t first_lanes(Index count) {
    return svwhilelt_b32_s64(0, count);
  }
};

#define LSTM_IMPL_DOTS 1

// The instruction is written in assembly, because a library for every CPU with SVE contains it too.
struct DotInstruction {
  static constexpr const char* kName = "bfdot of SVE";

  static bool here() {
    constexpr unsigned long kBfloat16 = 1ul << 12;  // HWCAP2_SVEBF16 of Linux
    return (getauxval(AT_HWCAP2) & kBfloat16) != 0;
  }
  static bool faster() { return false; }  // it has run in an emulation only

  // The instruction rounds in the same way as bfdot of NEON.
  static LSTM_IMPL_INLINE void dot(Vector& sum, Vector left, Vector right) {
    Instructions::Floats sums = sum;
    const Instructions::Floats of_left = left, of_right = right;
    asm(".arch_extension bf16\n\tbfdot %0.s, %1.h, %2.h" : "+w"(sums) : "w"(of_left), "w"(of_right));
    sum = sums;
  }
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_SVE_H_
