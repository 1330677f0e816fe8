// AVX10 with registers of 256 bits: 32 registers of eight floats, and masks for lanes. CPUs with
// AVX-512 and its instructions for shorter registers (AVX512VL) have the same instructions.
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX10_256_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX10_256_H_

#include <immintrin.h>

#include <cstdint>

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = 8;
constexpr int kRows = 6;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {
  static LSTM_IMPL_INLINE void hold(Vector& value) { asm("" : "+v"(value)); }

#if defined(LSTM_IMPL_MASKS)
  static LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
    return _mm256_maskz_loadu_ps(first_lanes(count), from);
  }
  static LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
    _mm256_mask_storeu_ps(to, first_lanes(count), value);
  }
  static LSTM_IMPL_INLINE Halves load_some(const BFloat16* from, Index count) {
    return reinterpret_cast<Halves>(_mm_maskz_loadu_epi16(first_lanes(count), from));
  }
  static LSTM_IMPL_INLINE void store_some(BFloat16* to, Halves halves, Index count) {
    _mm_mask_storeu_epi16(to, first_lanes(count), reinterpret_cast<__m128i>(halves));
  }
#endif

  // The reason is the same as in AVX-512.
  static LSTM_IMPL_INLINE Vector clamp(Vector x, float least, float most) {
    const Vector low = Vector{} + least, high = Vector{} + most;
    asm("vmaxps %1, %2, %0" : "=v"(x) : "v"(x), "v"(low));
    asm("vminps %1, %2, %0" : "=v"(x) : "v"(x), "v"(high));
    return x;
  }
  static LSTM_IMPL_INLINE Vector reciprocal(Vector x) {
    Vector value;
    asm("vrcp14ps %1, %0" : "=v"(value) : "v"(x));
    return value;
  }
  static LSTM_IMPL_INLINE Split split(Vector x, float factor) {
    const Vector exact = x * factor;
    Vector rest;
    asm("vreduceps $0, %1, %0" : "=v"(rest) : "v"(exact));
    return {rest, exact - rest};
  }
  static LSTM_IMPL_INLINE Vector scaled(Vector x, Vector integer) {
    asm("vscalefps %2, %1, %0" : "=v"(x) : "v"(x), "v"(integer));
    return x;
  }

#if defined(__AVX512BF16__)
  static LSTM_IMPL_INLINE Halves rounded_halves(Vector value) {
    Halves halves;
    asm("vcvtneps2bf16 %1, %x0" : "=v"(halves) : "v"(value));
    return halves;
  }
#endif

  static constexpr const char* kByteProducts = "vpmaddwd";

  static LSTM_IMPL_INLINE void add_bytes(Bits& sum, Bits left, Bits right) {
    using Shorts = std::int16_t __attribute__((vector_size(kLanes * sizeof(float))));
    const Bits even = multiplied(left & 0x00ff00ff, (Bits)((Shorts)right << 8 >> 8));
    const Bits odd = multiplied((left >> 8) & 0x00ff00ff, (Bits)((Shorts)right >> 8));
    sum += even + odd;
  }

 private:
  static LSTM_IMPL_INLINE __mmask8 first_lanes(Index count) {
    return static_cast<__mmask8>((1u << static_cast<unsigned>(count)) - 1);
  }

  static LSTM_IMPL_INLINE Bits multiplied(Bits left, Bits right) {
    Bits sums;
    asm("vpmaddwd %2, %1, %0" : "=v"(sums) : "v"(left), "v"(right));
    return sums;
  }
};

#define LSTM_IMPL_DOTS 1

struct DotInstruction {
  static constexpr const char* kName = "vdpbf16ps";

  static bool here() { return __builtin_cpu_supports("avx512bf16"); }
  static bool faster() { return __builtin_cpu_is("amd"); }
  static LSTM_IMPL_INLINE void dot(Vector& sum, Vector left, Vector right) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  }
};

#define LSTM_IMPL_VNNI 1

struct ByteInstruction {
  static constexpr const char* kName = "vpdpbusd of AVX512-VNNI";

  static bool here() { return __builtin_cpu_supports("avx512vnni"); }
  static LSTM_IMPL_INLINE void add(Bits& sum, Bits left, Bits right) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  }
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_AVX10_256_H_
