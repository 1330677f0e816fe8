// One vector register of floats, as the compiler's vector extension: the same source becomes
// AVX-512, AVX2 with FMA, or NEON, by what the machine that compiles it has.
#ifndef LSTM_IMPL_NATIVE_VECTOR_H_
#define LSTM_IMPL_NATIVE_VECTOR_H_

#include <cstdint>
#include <cstring>

// Lanes by a mask, where the processor has that; not where the address sanitizer should see which.
#if (defined(__AVX512F__) || defined(__AVX2__)) && !defined(__SANITIZE_ADDRESS__)
#define LSTM_IMPL_MASKS 1
#include <immintrin.h>
#endif

#define LSTM_IMPL_INLINE inline __attribute__((always_inline))

// Compiled once, and not again for each caller.
#if defined(__clang__)
#define LSTM_IMPL_ONCE __attribute__((noinline))
#else
#define LSTM_IMPL_ONCE __attribute__((noinline, noclone))
#endif

namespace lstm_impl {

using Index = std::int64_t;  // sizes are products: 32 bits would overflow

// kLanes: floats in a register. kRows: rows of a product's register tile, which is four registers
// wide: its sums, four columns of the right operand and one value of the left one must fit the 32
// registers of AVX-512 and NEON, or the 16 of AVX2.
#if defined(__AVX512F__)
constexpr Index kLanes = 16;
constexpr int kRows = 6;
#elif defined(__AVX2__)
constexpr Index kLanes = 8;
constexpr int kRows = 2;
#else
constexpr Index kLanes = 4;
constexpr int kRows = 6;
#endif

// Registers of sums of a block of units, see cell.h.
constexpr Index kSums = 4;
constexpr Index kPanel = kSums * kLanes;  // floats of the sums of one row of a block of units

// Registers of the widest tile of a product.
constexpr Index kMostWidth = 4;

using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using Bits = std::int32_t __attribute__((vector_size(kLanes * sizeof(float))));
// A name is less aligned than its type; clang ignores `aligned` in an alias's type.
using Unaligned __attribute__((aligned(sizeof(float)), may_alias)) = Vector;
static_assert(alignof(Unaligned) == alignof(float), "loads would need aligned addresses");

LSTM_IMPL_INLINE Vector load(const float* from) {
  return *reinterpret_cast<const Unaligned*>(from);
}

LSTM_IMPL_INLINE void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

// Has a value in a register from here on. GCC 12 reads what few rows share from memory again for
// each of them, which takes tiles of two and three rows up to twice as long.
LSTM_IMPL_INLINE void hold(Vector& value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
}

#if defined(LSTM_IMPL_MASKS) && defined(__AVX512F__)

LSTM_IMPL_INLINE __mmask16 first_lanes(Index count) {
  return static_cast<__mmask16>((1u << static_cast<unsigned>(count)) - 1);
}

LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
  return _mm512_maskz_loadu_ps(first_lanes(count), from);
}

LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
  _mm512_mask_storeu_ps(to, first_lanes(count), value);
}

#elif defined(LSTM_IMPL_MASKS)

LSTM_IMPL_INLINE __m256i first_lanes(Index count) {
  return (__m256i)(Bits{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<std::int32_t>(count));
}

LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
  return _mm256_maskload_ps(from, first_lanes(count));
}

LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
  _mm256_maskstore_ps(to, first_lanes(count), value);
}

#else

// Bytes of `count` lanes, fewer than all; masked, for a compiler to know that none is the least.
LSTM_IMPL_INLINE std::size_t part_size(Index count) {
  return static_cast<std::size_t>(count & (kLanes - 1)) * sizeof(float);
}

LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
  Vector value = {};
  std::memcpy(&value, from, part_size(count));
  return value;
}

LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
  std::memcpy(to, &value, part_size(count));
}

#endif

// The first `count` lanes from memory, at most kLanes; the others are zero.
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
