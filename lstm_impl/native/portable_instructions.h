// What the kernels need of a CPU's vector registers, written only with the compiler's vector
// extension.
//
// The header of an instruction set includes this header after it has said how wide a register is.
// Its struct Instructions inherits from PortableInstructions, and hides each function that the
// instruction set computes faster. See vector.h.
#ifndef LSTM_IMPL_NATIVE_PORTABLE_INSTRUCTIONS_H_
#define LSTM_IMPL_NATIVE_PORTABLE_INSTRUCTIONS_H_

#include <cstdint>
#include <cstring>

#include "kernels.h"

#define LSTM_IMPL_INLINE inline __attribute__((always_inline))

// The address sanitizer does not see which lanes a masked load or store leaves out.
#if !defined(__SANITIZE_ADDRESS__)
#define LSTM_IMPL_MASKS 1
#endif

namespace lstm_impl {

using Index = std::int64_t;  // sizes are products: 32 bits would overflow

constexpr Index kLanes = kVectorLanes;  // floats in a register

using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using Bits = std::int32_t __attribute__((vector_size(kLanes * sizeof(float))));
using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
using Halves = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));

// The name Unaligned has a smaller alignment than its type. clang ignores `aligned` in an alias's
// type.
using Unaligned __attribute__((aligned(sizeof(float)), may_alias)) = Vector;
static_assert(alignof(Unaligned) == alignof(float), "loads would need aligned addresses");

LSTM_IMPL_INLINE Vector load(const float* from) {
  return *reinterpret_cast<const Unaligned*>(from);
}

LSTM_IMPL_INLINE void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

struct PortableInstructions {
  // Keeps a value in a register from here on. Without this, GCC 12 reads what a few rows share from
  // memory again for each row, which makes tiles of two and three rows up to twice as slow.
  static LSTM_IMPL_INLINE void hold(Vector&) {}

  // Load or store the first `count` lanes, which are fewer than all. The other lanes are read as
  // zero, and are not written.
  static LSTM_IMPL_INLINE Vector load_some(const float* from, Index count) {
    Vector value = {};
    std::memcpy(&value, from, part_size(count));
    return value;
  }
  static LSTM_IMPL_INLINE void store_some(float* to, Vector value, Index count) {
    std::memcpy(to, &value, part_size(count));
  }
  static LSTM_IMPL_INLINE Halves load_some(const BFloat16* from, Index count) {
    BFloat16 numbers[kLanes] = {};
    copy_some<kLanes / 2>(from, numbers, count);
    Halves halves;
    std::memcpy(&halves, numbers, sizeof halves);
    return halves;
  }
  static LSTM_IMPL_INLINE void store_some(BFloat16* to, Halves halves, Index count) {
    BFloat16 numbers[kLanes];
    std::memcpy(numbers, &halves, sizeof halves);
    copy_some<kLanes / 2>(numbers, to, count);
  }

  // Comparisons with NaN are false, so NaN stays NaN.
  static LSTM_IMPL_INLINE Vector clamp(Vector x, float least, float most) {
    const Vector low = Vector{} + least, high = Vector{} + most;
    x = x < low ? low : x;
    return x > high ? high : x;
  }

  // Returns 1 / x, within 2^-14.
  static LSTM_IMPL_INLINE Vector reciprocal(Vector x) { return 1.0f / x; }

  // The remainder of a number after subtracting the nearest integer, and this integer in the form
  // that scaled() takes.
  struct Split {
    Vector rest, integer;
  };

  // Splits x times `factor`, whose magnitude must be below 2^22. Adding 1.5 * 2^23 rounds to an
  // integer. The lowest bits of the sum then hold this integer.
  static LSTM_IMPL_INLINE Split split(Vector x, float factor) {
    constexpr float kRound = 12582912.0f;
    const Vector shifted = x * factor + kRound;
    return {x * factor - (shifted - kRound), shifted};
  }

  // Returns x times two to the power of an integer. x and the result must be normal numbers.
  static LSTM_IMPL_INLINE Vector scaled(Vector x, Vector integer) {
    Bits exponent, bits;
    std::memcpy(&exponent, &integer, sizeof exponent);
    std::memcpy(&bits, &x, sizeof bits);
    bits += exponent << 23;
    std::memcpy(&x, &bits, sizeof bits);
    return x;
  }

  // Returns the upper half of each lane, rounded to nearest, ties to even. NaN stays NaN.
  static LSTM_IMPL_INLINE Halves rounded_halves(Vector value) {
    Words words;
    std::memcpy(&words, &value, sizeof words);
    const Words nearest = words + 0x7fffu + ((words >> 16) & 1u);
    return __builtin_convertvector((value == value ? nearest : words | 0x400000u) >> 16, Halves);
  }

  // A description of how bytes are multiplied if the CPU has no instruction for it.
  static constexpr const char* kByteProducts = "products of 32 bits";

  // Adds the products of four unsigned bytes and four signed bytes to sum.
  static LSTM_IMPL_INLINE void add_bytes(Bits& sum, Bits left, Bits right) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      const Bits lifted = (Bits)((Words)right << static_cast<unsigned>(24 - 8 * part));
      sum += ((left >> 8 * part) & 255) * (lifted >> 24);
    }
  }

 private:
  // Returns how many bytes `count` lanes have. The mask tells the compiler that this is less than
  // all.
  static LSTM_IMPL_INLINE std::size_t part_size(Index count) {
    return static_cast<std::size_t>(count & (kLanes - 1)) * sizeof(float);
  }

  // Copies fewer than 2 * Size numbers, by powers of two. A memcpy() whose size the compiler does
  // not know becomes a function call. With such a call, a layer of 4 units in bfloat16 took 1.4
  // times as long as in float32.
  template <Index Size>
  static LSTM_IMPL_INLINE void copy_some(const BFloat16* from, BFloat16* to, Index count) {
    if constexpr (Size > 0) {
      if ((count & Size) != 0) {
        std::memcpy(to, from, Size * sizeof(BFloat16));
        from += Size;
        to += Size;
      }
      copy_some<Size / 2>(from, to, count);
    }
  }
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PORTABLE_INSTRUCTIONS_H_
