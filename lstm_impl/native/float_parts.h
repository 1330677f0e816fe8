// A float as a sum of bfloat16 numbers, its parts, and the rule that says which numbers can be
// multiplied in parts.
//
// A float has 24 binary digits and a bfloat16 number has 8, so a float is the sum of three parts.
// The first part is the float rounded to bfloat16. Each further part is the rest that the parts
// before it leave, rounded to bfloat16. The product of two floats is the sum of the products of
// their parts.
//
// Products of parts are right only for usual numbers:
//   - Infinity has the parts infinity, 0, 0. Its product with the number 1, whose parts are 1, 0,
//     0, would be infinity times 0, which is NaN.
//   - Products with very large numbers overflow in one part before their sum overflows.
//   - AMX reads denormal parts as zero, and writes zero for denormal sums.
// For a row of the left operand and a matrix, are_usual() says whether their product is right.
// Where it is not, the kernels multiply the floats themselves.
#ifndef LSTM_IMPL_NATIVE_FLOAT_PARTS_H_
#define LSTM_IMPL_NATIVE_FLOAT_PARTS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// A float has at most this many parts.
constexpr int kMostParts = 3;

struct FloatParts {
  Vector part[kMostParts];
};

// Splits each lane into its parts. Their sum is exact for zero and for magnitudes from 2^-102 on.
// For smaller numbers, the sum may be off by up to 2^-126, because some CPUs round denormal parts
// to zero. Infinity and NaN are in the first part, and the other two parts are zero.
LSTM_IMPL_INLINE FloatParts split(Vector value) {
  // Numbers with these bits, and all larger numbers, are rounded to infinity in bfloat16.
  constexpr std::int32_t kRoundsToInfinity = 0x7f7f8000, kInfinity = 0x7f800000;
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  const Bits magnitude = bits & 0x7fffffff;
  const Bits cut_bits = bits & static_cast<std::int32_t>(0xffff0000);
  Vector cut;
  std::memcpy(&cut, &cut_bits, sizeof cut);
  const Bits is_largest = (magnitude >= kRoundsToInfinity) & (magnitude < kInfinity);
  FloatParts found;
  found.part[0] = is_largest ? cut : rounded<BFloat16>(value);
  const Vector rest = magnitude < kInfinity ? value - found.part[0] : Vector{};
  found.part[1] = rounded<BFloat16>(rest);
  found.part[2] = rounded<BFloat16>(rest - found.part[1]);
  return found;
}

// Finds the largest magnitude of the numbers that it is given.
class LargestMagnitude {
 public:
  LSTM_IMPL_INLINE void see(Vector value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    const Bits magnitude = bits & 0x7fffffff;
    lanes_ = magnitude > lanes_ ? magnitude : lanes_;
  }

  // Returns the upper half of the bits of the largest magnitude, rounded up. For positive floats,
  // these bits are in the order of the numbers. Those of infinity and of NaN are above those of all
  // numbers.
  std::uint16_t upper_half() const {
    std::int32_t lanes[kLanes], largest = 0;
    std::memcpy(lanes, &lanes_, sizeof lanes);
    for (const std::int32_t each : lanes) largest = each > largest ? each : largest;
    return upper_half(largest);
  }

  // The same for each lane. Raises those numbers of `halves` that are smaller.
  void raise(std::uint16_t* halves) const {
    std::int32_t lanes[kLanes];
    std::memcpy(lanes, &lanes_, sizeof lanes);
    for (const std::int32_t each : lanes) {
      *halves = std::max(*halves, upper_half(each));
      ++halves;
    }
  }

 private:
  static std::uint16_t upper_half(std::int32_t bits) {
    return static_cast<std::uint16_t>((static_cast<std::uint32_t>(bits) + 0xffffu) >> 16);
  }

  Bits lanes_{};
};

// Finds the largest magnitude of a matrix that several threads pack.
class SharedMagnitude {
 public:
  void see(std::uint16_t magnitude) {
    std::uint16_t before = largest_.load(std::memory_order_relaxed);
    while (before < magnitude &&
           !largest_.compare_exchange_weak(before, magnitude, std::memory_order_relaxed)) {
    }
  }

  // To be called after a phase in which threads called see().
  std::uint16_t get() const { return largest_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint16_t> largest_{0};
};

// Returns whether products of parts are right for numbers of a left and a right operand with these
// largest magnitudes, as LargestMagnitude gives them. They are right if both magnitudes are zero or
// from 2^-90 to 2^48, and their product is at least 2^-80. Then no sum of up to 2^30 products
// overflows. What AMX replaces by zero is at most 2^-126, or at most 2^-126 times one of the
// two magnitudes. Either is at most 2^-36 times the product of the two magnitudes.
inline bool are_usual(std::uint16_t left, std::uint16_t right) {
  constexpr int kOne = 127, kDigits = 7;  // the exponent of 1, and digits after the exponent
  constexpr std::uint16_t kLeast = (kOne - 90) << kDigits, kMost = (kOne + 48) << kDigits;
  constexpr int kLeastOfProduct = 2 * kOne - 80;
  if (left > kMost || right > kMost) return false;
  if (left == 0 || right == 0) return true;
  return left >= kLeast && right >= kLeast && (left >> kDigits) + (right >> kDigits) >= kLeastOfProduct;
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FLOAT_PARTS_H_
