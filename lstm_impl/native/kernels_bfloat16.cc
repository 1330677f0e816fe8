// The kernels with products in bfloat16. They are chosen once, by what the CPU has: numbers widened
// to floats, pairs by vdpbf16ps or bfdot, or tiles (AMX).
#include "bfloat16.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "bfloat16_operands.h"
#include "bfloat16_products.h"
#include "cell.h"
#include "forward.h"
#include "gru.h"
#include "numbers.h"
#include "tiles.h"

namespace lstm_impl {
namespace {

#if defined(LSTM_IMPL_TILES)
// Returns whether tiles multiply in the same way as plain sums. The test uses small integers, whose
// sums are exact in any order, in tiles of all shapes. It is necessary because we do not know what
// a hypervisor or another library does to a process's tiles.
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
      const Index word = DotsByTiles::place(k / 2, column / kLanes, kWidth) + column % kLanes;
      right[static_cast<std::size_t>(2 * word + k % 2)] = stored(number(k, column));
    }
  }
  std::vector<float> panel(kPairs * kWidth * kLanes), sums(kRows * kWidth * kLanes);
  std::memcpy(panel.data(), right.data(), panel.size() * sizeof(float));
  DotsByTiles::multiply<PanelPart<kWidth>>(
      sums.data(), {nullptr, 0}, kRows,
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

const char* find_tiles_problem() {
#if defined(LSTM_IMPL_TILES)
  if (const char* const refusal = tiles::refusal(); refusal != nullptr) return refusal;
  return tiles_are_right() ? nullptr : "a self-test of the AMX tiles gave wrong products";
#elif defined(LSTM_IMPL_CPU_WITHOUT_TILES)
  return tiles::kNotInCpu;
#else
  return "this library is compiled for a CPU without AMX, or by a compiler that does not know AMX";
#endif
}

// Returns the value of LSTM_NATIVE_BFLOAT16, or an empty string if it is not set.
std::string requested_products() {
  const char* const variable = std::getenv("LSTM_NATIVE_BFLOAT16");
  return variable == nullptr ? "" : variable;
}

// How this process multiplies, and a note that says what it would use otherwise, and why it does
// not.
struct CpuProducts {
  Bfloat16Products products = Bfloat16Products::kWidened;
  bool requested = false;
  std::string note;
};

CpuProducts choose_products() {
  const std::string requested = requested_products();
  if (!requested.empty() && requested != "tiles" && requested != "dots" && requested != "widened") {
    throw std::runtime_error("LSTM_NATIVE_BFLOAT16 is \"" + requested +
                             "\"; expected tiles, dots or widened");
  }
  CpuProducts found;
  found.requested = !requested.empty();
  if (requested == "tiles") {
    if (const char* const problem = tiles_problem(); problem != nullptr) {
      throw std::runtime_error(std::string("LSTM_NATIVE_BFLOAT16 is \"tiles\", and ") + problem);
    }
    found.products = Bfloat16Products::kTiles;
    return found;
  }
  if (requested.empty() && cpu_has_fast_tiles()) {
    const char* const problem = tiles_problem();
    if (problem == nullptr) {
      found.products = Bfloat16Products::kTiles;
      return found;
    }
    found.note = std::string("no AMX tiles: ") + problem;
  }
#if defined(LSTM_IMPL_DOTS)
  const bool wanted = requested.empty() ? Dots::faster() : requested == "dots";
  if (wanted && Dots::here()) found.products = Bfloat16Products::kDots;
#endif
  return found;
}

const CpuProducts& cpu_choice() {
  static const CpuProducts chosen = choose_products();
  return chosen;
}

const char* instruction_name(Bfloat16Products products) {
  switch (products) {
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

// Returns why a layer is too small for these products, or null if it is not. In a small layer, most
// of a tile would be padding, or, for the other instructions, most of a register of units.
const char* size_problem(const Layer& layer, Bfloat16Products products) {
  if (products == Bfloat16Products::kTiles) {
    if (const char* const problem = tile_size_problem(layer); problem != nullptr) return problem;
  }
  // We measured this on an EPYC with AVX512-BF16: with 4 and 8 units, bfloat16 took 1.2 to 1.6
  // times as long.
  if (layer.units < kLanes) return "fewer units than a register holds";
  return nullptr;
}

// Returns why products of floats are faster for a forward pass of this layer, or null if they are
// not.
const char* reason_for_floats(const Layer& layer) {
  if (has_few_reads(layer)) return kFewReads;
  const CpuProducts& cpu = cpu_choice();
  if (cpu.products != Bfloat16Products::kWidened && !cpu.requested) {
    if (const char* const problem = size_problem(layer, cpu.products); problem != nullptr) {
      return problem;
    }
  }
  if (layer_products(layer) != Bfloat16Products::kWidened) return nullptr;
  // Widened products are not faster than products of floats, but they read half the bytes. This
  // helps a single sequence with more weights than the nearest caches hold, because reading the
  // weights then takes most of the time.
  constexpr std::int64_t kManyWeights = 1 << 18;
  if (layer.batch == 1 && layer.gates() * layer.units * (layer.inputs + layer.units) > kManyWeights) {
    return nullptr;
  }
  return "this CPU multiplies bfloat16 no faster";
}

}  // namespace

const char* tiles_problem() {
  static const char* const problem = find_tiles_problem();
  return problem;
}

// The emulation multiplies correctly on every CPU, but it is never the fastest way.
bool cpu_has_fast_tiles() {
#if defined(LSTM_IMPL_TILES) && !defined(LSTM_IMPL_EMULATED_TILES)
  return tiles::cpu_has_tiles();
#else
  return false;
#endif
}

const char* tile_size_problem(const Layer& layer) {
  // We measured on a Xeon with AMX that smaller layers took longer with tiles than with floats.
  constexpr Index kFewUnits = 16, kFewMultiplications = 1 << 14;
  if (layer.units <= kFewUnits) return "16 units or fewer are too small for tiles";
  const Index step = layer.batch * layer.gates() * layer.units * (layer.inputs + layer.units);
  if (step < kFewMultiplications) return "too few multiplications in a step for tiles";
  return nullptr;
}

Bfloat16Products cpu_products() { return cpu_choice().products; }

Bfloat16Products layer_products(const Layer& layer) {
  const CpuProducts& cpu = cpu_choice();
  if (cpu.products == Bfloat16Products::kWidened || cpu.requested) return cpu.products;
  const bool small = size_problem(layer, cpu.products) != nullptr;
  return small ? Bfloat16Products::kWidened : cpu.products;
}

bool pays_in_bfloat16(const Layer& layer) { return reason_for_floats(layer) == nullptr; }

const char* products_name() { return instruction_name(cpu_products()); }

std::string describe_products(const Layer& layer) {
  const char* const reason = reason_for_floats(layer);
  std::string found = reason == nullptr ? instruction_name(layer_products(layer))
                                        : std::string("float32: ") + reason;
  const std::string& note = cpu_choice().note;
  return note.empty() ? found : found + " (" + note + ")";
}

template <class Value, class Weight>
void forward_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell != CellKind::kLSTM) return forward_gru_in_bfloat16(call, pool);
  with_products(call.layer, [&](auto products) {
    using Operands = Bfloat16Operands<LSTM, Value, Weight, decltype(products)>;
    ForwardPass<LSTM, Operands>(call, pool).run(pool);
  });
}

template void forward_in_bfloat16(const Forward<float>&, const Pool&);
template void forward_in_bfloat16(const Forward<BFloat16>&, const Pool&);
template void forward_in_bfloat16(const Forward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
