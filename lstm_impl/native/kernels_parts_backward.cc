// The gradients of layers whose floats are multiplied in parts.
#include <type_traits>

#include "bfloat16_products.h"
#include "cell.h"
#include "gradients.h"
#include "part_products.h"
#include "parts.h"

namespace lstm_impl {
namespace {

// Calls work(cell, products) with the cell and the products of a layer.
template <class Work>
void with_parts(const Layer& layer, const Work& work) {
#if defined(LSTM_IMPL_TILES)
  with_cell(layer, [&](auto cell) {
    if (parts_of_floats(layer) == 2) return work(cell, PartsByTiles<2>{});
    work(cell, PartsByTiles<3>{});
  });
#else
  (void)layer;
  (void)work;
#endif
}

}  // namespace

void backward_by_parts(const Backward<float>& call, const Pool& pool) {
  with_parts(call.layer, [&](auto cell, auto products) {
    backward_by<decltype(cell), decltype(products)>(call, pool);
  });
}

void input_gradient_by_parts(const InputGradient<float>& call, const Pool& pool) {
  with_parts(call.layer, [&](auto cell, auto products) {
    // The input has the same part in both forms of the GRU.
    using Cell = std::conditional_t<std::is_same_v<decltype(cell), LSTM>, LSTM, GRU<true>>;
    SplitInputGradients<Cell, decltype(products)>(call, pool).run(pool);
  });
}

}  // namespace lstm_impl
