// AVX2 with FMA: 16 registers of eight floats.
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX2_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = 8;
constexpr int kRows = 2;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {
  static LSTM_IMPL_INLINE void hold(Vector& value) { asm("" : "+v"(value)); }

  using PortableInstructions::load_some;
  using PortableInstructions::store_some;
#if defined(LSTM_IMPL_MASKS)
  static LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
    return _mm256_maskload_ps(from, first_lanes(count));
  }
  static LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
    _mm256_maskstore_ps(to, first_lanes(count), value);
  }
#endif

  static constexpr const char* kByteProducts = "vpmaddwd";

  // This works as in AVX-512.
  static LSTM_IMPL_INLINE void add_bytes(Bits& sum, Bits left, Bits right) {
    using Shorts = std::int16_t __attribute__((vector_size(kLanes * sizeof(float))));
    const Bits even = multiplied(left & 0x00ff00ff, (Bits)((Shorts)right << 8 >> 8));
    const Bits odd = multiplied((left >> 8) & 0x00ff00ff, (Bits)((Shorts)right >> 8));
    sum += even + odd;
  }

 private:
  static LSTM_IMPL_INLINE __m256i first_lanes(Index count) {
    return (__m256i)(Bits{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<std::int32_t>(count));
  }

  static LSTM_IMPL_INLINE Bits multiplied(Bits left, Bits right) {
    Bits sums;
    asm("vpmaddwd %2, %1, %0" : "=v"(sums) : "v"(left), "v"(right));
    return sums;
  }
};

#if defined(__AVXVNNI__)
#define LSTM_IMPL_VNNI 1

// The instruction is written in assembly, because assemblers have known it for more years than
// compilers.
struct ByteInstruction {
  static constexpr const char* kName = "vpdpbusd of AVX-VNNI";

  static bool here() { return __builtin_cpu_supports("avxvnni"); }
  static LSTM_IMPL_INLINE void add(Bits& sum, Bits left, Bits right) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(left), "x"(right));
  }
};
#endif

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX2_H_
