// The choice between products of floats and products of their bfloat16 parts by tiles (AMX), and
// the forward pass in parts.
#include "parts.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "bfloat16.h"
#include "cell.h"
#include "forward.h"
#include "part_operands.h"
#include "part_products.h"

namespace lstm_impl {
namespace {

// How this process multiplies floats. problem: why it does not use tiles, or null if it does.
struct Choice {
  bool requested = false;
  const char* problem = nullptr;
};

Choice choose() {
  const char* const variable = std::getenv("LSTM_NATIVE_FLOAT32");
  const std::string requested = variable == nullptr ? "" : variable;
  Choice found;
  found.requested = !requested.empty();
  if (requested == "units") {
    found.problem = "LSTM_NATIVE_FLOAT32 is \"units\"";
  } else if (requested == "tiles") {
    if (const char* const problem = tiles_problem(); problem != nullptr) {
      throw std::runtime_error(std::string("LSTM_NATIVE_FLOAT32 is \"tiles\", and ") + problem);
    }
  } else if (requested.empty()) {
    found.problem = tiles_problem();
    if (found.problem == nullptr && !cpu_has_fast_tiles()) found.problem = "the tiles are emulated";
  } else {
    throw std::runtime_error("LSTM_NATIVE_FLOAT32 is \"" + requested +
                             "\"; expected tiles or units");
  }
  return found;
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

// Returns why the floats of a layer are multiplied themselves, or null if their parts are
// multiplied.
const char* reason_for_floats(const Layer& layer) {
  const Choice& chosen = choice();
  if (chosen.problem != nullptr) return chosen.problem;
  if (has_few_reads(layer)) return kFewReads;
  if (chosen.requested) return nullptr;
  // Nobody has measured six products on a CPU with AMX yet: see docs/fused_cpu.md.
  if (!layer.three_products) return "tiles must be requested, by LSTM_NATIVE_FLOAT32=tiles";
  return tile_size_problem(layer);
}

}  // namespace

int parts_of_floats(const Layer& layer) {
  if (layer.bfloat16_products || reason_for_floats(layer) != nullptr) return 0;
  return layer.three_products ? 2 : 3;
}

std::string describe_float_products(const Layer& layer) {
  const char* const reason = reason_for_floats(layer);
  if (reason == nullptr) {
    return layer.three_products ? "tdpbf16ps: 3 products of bfloat16 parts"
                                : "tdpbf16ps: 6 products of bfloat16 parts";
  }
  const bool explained = layer.three_products || choice().requested || cpu_has_fast_tiles();
  return explained ? std::string("float32: ") + reason : "float32";
}

void forward_by_parts(const Forward<float>& call, const Pool& pool) {
#if defined(LSTM_IMPL_TILES)
  with_cell(call.layer, [&](auto cell) {
    using Cell = decltype(cell);
    if (parts_of_floats(call.layer) == 2) {
      ForwardPass<Cell, PartOperands<Cell, PartsByTiles<2>>>(call, pool).run(pool);
    } else {
      ForwardPass<Cell, PartOperands<Cell, PartsByTiles<3>>>(call, pool).run(pool);
    }
  });
#else
  (void)call;
  (void)pool;
#endif
}

}  // namespace lstm_impl
