// The forward pass: it computes the products of each step, and the gates while their sums are still
// in the first cache.
#ifndef LSTM_IMPL_NATIVE_FORWARD_H_
#define LSTM_IMPL_NATIVE_FORWARD_H_

#include <algorithm>
#include <vector>

#include "cell_step.h"
#include "kernels.h"
#include "plan.h"
#include "thread_team.h"
#include "vector.h"

namespace lstm_impl {

// Operands says what the products read and how they are computed in one precision; see
// FloatOperands, Bfloat16Operands and Int8Operands.
template <class Cell, class Operands>
class ForwardPass {
 public:
  using Hidden = typename Operands::Hidden;
  using Call = Forward<typename Hidden::Value, typename Hidden::Weight>;

  // weights: what the operands need in addition to the call.
  template <class... Weights>
  ForwardPass(const Call& call, const Pool& pool, const Weights&... weights)
      : layer_(call.layer),
        blocks_(unit_blocks(layer_)),
        operands_(call, pool, weights...),
        step_(call, operands_.hidden()) {}

  void run(const Pool& pool) {
    const Plan& plan = operands_.plan();
    step_.begin();
    operands_.begin();
    const int parts = plan.parts(blocks_);
    std::vector<Phase> phases;
    phases.push_back({1, parts, [this, parts](Index, int part) { operands_.pack(part, parts); }});
    phases.push_back(
        plan.all_steps(layer_, Cell::kStages * layer_.timesteps, blocks_,
                       [this](Index stage, Index first, Index last, Index block, Index end) {
                         advance<0>(stage, first, last, block, end);
                       }));
    phases.back().leave = Operands::release;
    ThreadTeam::run(std::move(phases), plan.workers,
                    call_work(layer_, layer_.inputs + layer_.units), pool);
    step_.end();
  }

 private:
  // stage: counted over all steps.
  template <int Stage>
  void advance(Index stage, Index first_row, Index last_row, Index first_block, Index last_block) {
    if constexpr (Stage + 1 < Cell::kStages) {
      if (stage % Cell::kStages != Stage) {
        advance<Stage + 1>(stage, first_row, last_row, first_block, last_block);
        return;
      }
    }
    const Index s = stage / Cell::kStages;
    last_row = std::min(last_row, layer_.sequences(time_of(layer_, s)));
    if (first_row >= last_row) return;
    const auto lefts = operands_.template read<Stage>(s, first_row, last_row);
    for (Index k = first_block; k < last_block; ++k) {
      const Index block = alternating_order(stage, k, first_block, last_block);
      const Index next =
          k + 1 < last_block ? alternating_order(stage, k + 1, first_block, last_block) : block;
      if (Stage == 0 && operands_.ahead().begin(s)) operands_.look_ahead(s, block, next);
      operands_.template multiply<Stage>(
          lefts, s, first_row, last_row, block, next,
          [&](float* sums, Index rows, Index row, const float* more) {
            if constexpr (Stage + 1 < Cell::kStages) {
              step_.reset_rows(operands_, sums, rows, s, row, block);
            } else {
              step_.finish_rows(sums, kPanel, rows, s, row, block, more);
            }
          });
    }
  }

  const Layer& layer_;
  const Index blocks_;
  const Operands operands_;
  const CellStep<Cell, Hidden> step_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FORWARD_H_
