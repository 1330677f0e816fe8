// The gradients of layers whose floats are multiplied in parts.
#include "bfloat16_products.h"
#include "cell.h"
#include "gradients.h"
#include "part_products.h"
#include "parts.h"

namespace lstm_impl {
namespace {

// Calls work(products) with the products of a layer.
template <class Work>
void with_parts(const Layer& layer, const Work& work) {
#if defined(LSTM_IMPL_TILES)
  if (parts_of_floats(layer) == 2) return work(PartsByTiles<2>{});
  work(PartsByTiles<3>{});
#else
  (void)layer;
  (void)work;
#endif
}

}  // namespace

void backward_by_parts(const Backward<float>& call, const Pool& pool) {
  with_parts(call.layer,
             [&](auto products) { backward_by<LSTM, decltype(products)>(call, pool); });
}

void input_gradient_by_parts(const InputGradient<float>& call, const Pool& pool) {
  with_parts(call.layer, [&](auto products) {
    SplitInputGradients<LSTM, decltype(products)>(call, pool).run(pool);
  });
}

}  // namespace lstm_impl
