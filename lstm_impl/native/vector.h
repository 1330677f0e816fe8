// One vector register of floats, as the compiler's vector extension. The same source becomes
// AVX-512, AVX2 with FMA, NEON or another instruction set, depending on the machine that it is
// compiled for.
//
// What an instruction set can do better than the compiler is in one header for each instruction
// set. A new header defines
//   - kVectorLanes, the floats in a register, which is a power of two, and kRows, the rows of a
//     product's register tile, which is four registers wide. Its sums, four columns of the right
//     operand and one value of the left operand must fit into the registers, of which AVX-512 and
//     NEON have 32, and AVX2 has 16;
//   - struct Instructions, see portable_instructions.h;
//   - LSTM_IMPL_DOTS and struct DotInstruction, if it multiplies pairs of bfloat16;
//   - LSTM_IMPL_VNNI and struct ByteInstruction, if it multiplies quads of bytes;
// and is named below. No other file depends on an instruction set, except tiles.h for AMX.
#ifndef LSTM_IMPL_NATIVE_VECTOR_H_
#define LSTM_IMPL_NATIVE_VECTOR_H_

// LSTM_IMPL_INSTRUCTIONS names the header of another instruction set.
#if defined(LSTM_IMPL_INSTRUCTIONS)
#include LSTM_IMPL_INSTRUCTIONS
#elif defined(__AVX512F__)
#include "instructions_avx512.h"
#elif defined(__AVX2__)
#include "instructions_avx2.h"
#elif defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 128
#include "instructions_sve.h"
#elif defined(__aarch64__)
#include "instructions_neon.h"
#elif defined(__riscv_v_fixed_vlen)
#include "instructions_rvv.h"
#else
#include "instructions_portable.h"
#endif

// A function with this attribute is compiled once, and not again for each caller.
#if defined(__clang__)
#define LSTM_IMPL_ONCE __attribute__((noinline))
#else
#define LSTM_IMPL_ONCE __attribute__((noinline, noclone))
#endif

namespace lstm_impl {

static_assert((kLanes & (kLanes - 1)) == 0);

// The number of registers for the sums of a block of units; see cell.h.
constexpr Index kSums = 4;
constexpr Index kPanel = kSums * kLanes;  // floats of the sums of one row of a block of units

// The number of registers of the widest tile of a product.
constexpr Index kMostWidth = 4;

LSTM_IMPL_INLINE void hold(Vector& value) { Instructions::hold(value); }

LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
  return Instructions::load_some(from, count);
}

LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
  Instructions::store_some(to, value, count);
}

// Loads the first `count` lanes from memory, at most kLanes. The others are zero.
LSTM_IMPL_INLINE Vector load_part(const float* from, Index count) {
  return count >= kLanes ? load(from) : load_some(from, count);
}

LSTM_IMPL_INLINE void store_part(float* to, Vector value, Index count) {
  if (count >= kLanes) {
    store(to, value);
  } else {
    store_some(to, value, count);
  }
}

constexpr Index blocks_of(Index count, Index size) { return (count + size - 1) / size; }

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_VECTOR_H_
