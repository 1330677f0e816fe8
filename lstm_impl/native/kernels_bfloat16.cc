// The kernels with products of bfloat16, chosen once by what the CPU has: widened to floats, pairs by
// vdpbf16ps or bfdot, or tiles (AMX).
#include "bfloat16.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "bfloat16_forward.h"
#include "bfloat16_products.h"
#include "numbers.h"

namespace lstm_impl {
namespace {

#if defined(LSTM_IMPL_TILES)
// Whether tiles multiply as plain sums do: small integers, which are exact in any order, in tiles of
// all shapes. What a hypervisor or another library does to a process's tiles is not known.
bool tiles_are_right() {
  constexpr Index kRows = 21, kPairs = 144, kNumbers = 2 * kPairs, kWidth = 3;
  const auto number = [](Index a, Index b) { return static_cast<float>((a * 7 + b * 5) % 9 - 4); };
  const auto stored = [](float value) {
    BFloat16 lane[kLanes];
    store(lane, Vector{} + value);
    return lane[0];
  };
  std::vector<BFloat16> left, right(kNumbers * kWidth * kLanes);
  for (Index row = 0; row < kRows; ++row) {
    for (Index k = 0; k < kNumbers; ++k) left.push_back(stored(number(row, k)));
  }
  for (Index k = 0; k < kNumbers; ++k) {
    for (Index column = 0; column < kWidth * kLanes; ++column) {
      const Index word =
          DotsByTiles::place(k / 2, column / kLanes, kWidth) + column % kLanes;
      right[static_cast<std::size_t>(2 * word + k % 2)] = stored(number(k, column));
    }
  }
  std::vector<float> panel(kPairs * kWidth * kLanes), sums(kRows * kWidth * kLanes);
  std::memcpy(panel.data(), right.data(), panel.size() * sizeof(float));
  DotsByTiles::multiply<kWidth>(sums.data(), {nullptr, 0}, kRows,
                                {Factors<BFloat16>{left.data(), kNumbers, panel.data(), kPairs}});
  DotsByTiles::release();
  for (Index row = 0; row < kRows; ++row) {
    for (Index column = 0; column < kWidth * kLanes; ++column) {
      float sum = 0;
      for (Index k = 0; k < kNumbers; ++k) sum += number(row, k) * number(k, column);
      if (sums[static_cast<std::size_t>(row * kWidth * kLanes + column)] != sum) return false;
    }
  }
  return true;
}
#endif

// Returns why this process cannot multiply by tiles, or an empty string.
std::string problem_of_tiles() {
#if defined(LSTM_IMPL_TILES)
  if (!tiles::granted()) return "this CPU has no AMX tiles, or its system keeps them from us";
  return tiles_are_right() ? "" : "its AMX tiles multiply wrongly";
#else
  return "this library is compiled for a CPU without AMX, or by a compiler that does not know it";
#endif
}

std::string asked_products() {
  const char* variable = std::getenv("LSTM_NATIVE_BFLOAT16");
  return variable == nullptr ? "" : variable;
}

}  // namespace

Bfloat16Products products_of_this_cpu() {
  static const Bfloat16Products chosen = [] {
    const std::string asked = asked_products();
    if (asked == "tiles") {
      if (const std::string problem = problem_of_tiles(); !problem.empty()) {
        throw std::runtime_error("LSTM_NATIVE_BFLOAT16 is \"tiles\", and " + problem);
      }
      return Bfloat16Products::kTiles;
    }
#if !defined(LSTM_IMPL_EMULATED_TILES)
    if (asked.empty() && problem_of_tiles().empty()) return Bfloat16Products::kTiles;
#endif
#if defined(LSTM_IMPL_DOTS)
    const bool wanted = asked.empty() ? Dots::faster() : asked == "dots";
    if (wanted && Dots::here()) return Bfloat16Products::kDots;
#endif
    return Bfloat16Products::kWidened;
  }();
  return chosen;
}

Bfloat16Products products_of(const Layer& layer) {
  const Bfloat16Products products = products_of_this_cpu();
  static const bool asked = !asked_products().empty();
  if (products != Bfloat16Products::kTiles || asked) return products;
  // Of smaller layers most of a tile is padding.
  constexpr Index kFewUnits = 16, kFewMultiplications = 1 << 14;
  const Index step = layer.batch * kGates * layer.units * (layer.inputs + layer.units);
  const bool small = layer.units <= kFewUnits || step < kFewMultiplications;
  return small ? Bfloat16Products::kWidened : products;
}

bool pays_in_bfloat16(const Layer& layer) {
  // Of few rows each weight is read a few times only, which pairs are not worth making for.
  constexpr std::int64_t kFewReads = 20;
  if (layer.timesteps * layer.batch <= kFewReads) return false;
  if (products_of(layer) != Bfloat16Products::kWidened) return true;
  // Widened multiplies no faster than products of floats, and reads half the bytes: of one sequence,
  // with more weights than a processor reads from its nearest caches, that is what takes the time.
  constexpr std::int64_t kManyWeights = 1 << 18;
  return layer.batch == 1 && kGates * layer.units * (layer.inputs + layer.units) > kManyWeights;
}

const char* bfloat16_products() {
  switch (products_of_this_cpu()) {
    case Bfloat16Products::kTiles:
      return "tdpbf16ps";
#if defined(LSTM_IMPL_DOTS)
    case Bfloat16Products::kDots:
      return Dots::kName;
#endif
    default:
      return "bfloat16 as float32";
  }
}

template <class Value, class Weight>
void forward_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool) {
#if defined(LSTM_IMPL_TILES)
  if (products_of(call.layer) == Bfloat16Products::kTiles) {
    Bfloat16Forward<Value, Weight, DotsByTiles>(call, pool).run(pool);
    return;
  }
#endif
#if defined(LSTM_IMPL_DOTS)
  if (products_of(call.layer) == Bfloat16Products::kDots) {
    Bfloat16Forward<Value, Weight, Dots>(call, pool).run(pool);
    return;
  }
#endif
  Bfloat16Forward<Value, Weight, Widened>(call, pool).run(pool);
}

template void forward_in_bfloat16(const Forward<float>&, const Pool&);
template void forward_in_bfloat16(const Forward<BFloat16>&, const Pool&);
template void forward_in_bfloat16(const Forward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
