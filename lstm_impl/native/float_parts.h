// A float as a sum of bfloat16 numbers, its parts, and which numbers can be multiplied by parts.
//
// A float has 24 binary digits and a bfloat16 number has 8, so a float is the sum of three parts.
// The first part is the float rounded to bfloat16. Each further part is what the parts before it
// leave, rounded to bfloat16. The product of two floats is the sum of the products of their parts.
//
// Products of parts are right for usual numbers only:
//   - Infinity has the parts infinity, 0, 0. Its product with the number 1, whose parts are 1, 0, 0,
//     would be infinity times 0, which is NaN.
//   - Products with very large numbers overflow earlier in one part than in their sum.
//   - AMX reads denormal parts as zero, and writes zero for denormal sums.
// are_usual() says for a row of the left operand and a matrix whether their product is right. Where
// it is not, the kernels multiply the floats themselves.
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

// The most parts that a float has.
constexpr int kMostParts = 3;

struct FloatParts {
  Vector part[kMostParts];
};

// The parts of each lane. Their sum is exact for zero and for magnitudes from 2^-102 on. Of smaller
// numbers it misses up to 2^-126, as some CPUs round denormal parts to zero. Infinity and NaN are in
// the first part, and the other two are zero.
LSTM_IMPL_INLINE FloatParts split(Vector value) {
  // From these bits on, rounding to the nearest bfloat16 number gives infinity.
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

// The largest magnitude of the numbers that it has seen.
class LargestMagnitude {
 public:
  LSTM_IMPL_INLINE void see(Vector value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    const Bits magnitude = bits & 0x7fffffff;
    lanes_ = magnitude > lanes_ ? magnitude : lanes_;
  }

  // The upper half of its bits, rounded up. Of positive floats these bits have the order of the
  // numbers. Those of infinity and of NaN are above all numbers.
  std::uint16_t upper_half() const {
    std::int32_t lanes[kLanes], largest = 0;
    std::memcpy(lanes, &lanes_, sizeof lanes);
    for (const std::int32_t each : lanes) largest = each > largest ? each : largest;
    return upper_half(largest);
  }

  // The same of each lane. Raises the numbers to it that are smaller.
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

// The largest magnitude of a matrix that several threads pack.
class SharedMagnitude {
 public:
  void see(std::uint16_t magnitude) {
    std::uint16_t before = largest_.load(std::memory_order_relaxed);
    while (before < magnitude &&
           !largest_.compare_exchange_weak(before, magnitude, std::memory_order_relaxed)) {
    }
  }

  // After a phase in which see() was called.
  std::uint16_t get() const { return largest_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint16_t> largest_{0};
};

// Whether products of parts are right for numbers of the left and the right operand whose largest
// magnitudes are these, by LargestMagnitude. Both are zero, or from 2^-90 to 2^48, and their product is at least 2^-80.
// Then no sum of up to 2^30 products overflows. What AMX takes for zero is at most 2^-126 times one
// of the largest magnitudes, or 2^-126, and so is a 2^36th of the product of both.
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
