// NEON: 32 registers of four floats.
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_NEON_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_NEON_H_

#include <cstdint>

// The assembler must know bfdot, as in tiles.h. That of clang 14 does not.
#if defined(__linux__) && (!defined(__clang__) || __clang_major__ >= 22)
#if __has_include(<arm_bf16.h>)
#define LSTM_IMPL_DOTS 1
#include <sys/auxv.h>
#endif
#endif

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = 4;
constexpr int kRows = 6;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {
  static LSTM_IMPL_INLINE void hold(Vector& value) { asm("" : "+w"(value)); }
};

#if defined(LSTM_IMPL_DOTS)

// The instruction is written in assembly, because a library for every aarch64 CPU contains it too,
// and calls it only on a CPU that knows it.
struct DotInstruction {
  static constexpr const char* kName = "bfdot";

  static bool here() {
    constexpr unsigned long kBfloat16 = 1ul << 14;  // HWCAP2_BF16 of Linux
    return (getauxval(AT_HWCAP2) & kBfloat16) != 0;
  }
  static bool faster() { return false; }  // it has run in an emulation only

  // This instruction rounds each addition to an odd last bit. The error is twice that of rounding
  // to nearest: for floats, a 2^15th of the error of bfloat16.
  static LSTM_IMPL_INLINE void dot(Vector& sum, Vector left, Vector right) {
    asm(".arch_extension bf16\n\tbfdot %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(left), "w"(right));
  }
};

#endif

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_NEON_H_
