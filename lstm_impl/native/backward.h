// The backward pass through the recurrence. It computes dz of every step, from the last step to the
// first.
#ifndef LSTM_IMPL_NATIVE_BACKWARD_H_
#define LSTM_IMPL_NATIVE_BACKWARD_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

#include "bfloat16_products.h"
#include "cell.h"
#include "float_parts.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "part_rows.h"
#include "plan.h"
#include "product.h"
#include "steps.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

// h of every step as the next step reads it. Without a mask, this is the output.
template <class Value, class Weight>
Rows<const Value> hidden_rows(const Backward<Value, Weight>& call) {
  const Layer& layer = call.layer;
  if (call.mask == nullptr) return rows_of(layer, call.hidden, layer.units);
  return {call.hidden, layer.batch * layer.units, layer.units};
}

// Products says how the products of dz and the transpose of the recurrent kernel are computed: from
// floats, or from numbers that are rounded to bfloat16.
template <class Cell, class Value, class Weight, class Products = OfFloats>
class BackwardPass {
 public:
  BackwardPass(const Backward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(Products::plan(layer_, layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        width_(width(blocks_, plan_)),
        groups_(blocks_of(blocks_, width_)),
        few_(!kRoundsFactors<Products> && Cell::kStages == 1 && has_few_rows(layer_)),
        dy_(rows_of(layer_, call.dy, layer_.units)),
        hidden_(hidden_rows(call)),
        recurrent_(few_ ? 0 : groups_ * group_size()),
        initial_cells_(kOfCells * blocks_ * layer_.batch * kLanes),
        dh_(blocks_ * layer_.batch * kLanes),
        dc_(kOfCells * blocks_ * layer_.batch * kLanes) {
    if constexpr (kSplitsFactors<Products>) {
      for_each_stage([&](auto stage) {
        constexpr int kStage = decltype(stage)::value;
        parts_[kStage].emplace(2 * layer_.batch, registers<kStage>() * kLanes);
      });
    } else if constexpr (kRoundsFactors<Products>) {
      rounded_.emplace(blocks_of(rounded_size(), 2));
    }
    if (call.dh0 != nullptr && any_from_initial(layer_, call.mask)) {
      of_initial_.emplace(2 * states_size());
      std::fill_n(of_initial_->get(), 2 * states_size(), 0.0f);
    }
  }

  int workers() const { return plan_.workers; }

  void add_phases(std::vector<Phase>& phases) {
    const Index batch = layer_.batch, units = layer_.units;
    pack_state(call_.dh_last, batch, units, dh_.get());
    if constexpr (Cell::kHasCellState) {
      pack_state(call_.c0, batch, units, initial_cells_.get());
      pack_state(call_.dc_last, batch, units, dc_.get());
    }
    const int groups = static_cast<int>(groups_);
    if (!few_) phases.push_back({1, groups, [this](Index, int group) { pack(group); }});
    // Clears the padding, because no step writes it.
    if constexpr (kSplitsFactors<Products>) {
      for (const auto& each : parts_) each->clear();
    } else if constexpr (kRoundsFactors<Products>) {
      std::fill_n(rounded<0>(0, 0), rounded_size(), BFloat16{0});
    }
    // The initial state needs one more stage, for what flows into the state before the first step.
    const Index stages = Cell::kStages * layer_.timesteps + (call_.dh0 != nullptr ? 1 : 0);
    if (plan_.by_rows) {
      phases.push_back(plan_.chains(layer_, stages, [this](Index stage, Index first, Index last) {
        for (Index k = 0; k < groups_; ++k) {
          advance<0>(stage, first, last, alternating_order<Index>(stage, k, 0, groups_));
        }
      }));
    } else {
      phases.push_back({stages, groups, [this](Index stage, int group) {
                          advance<0>(stage, 0, layer_.batch, group);
                        }});
    }
    phases.back().leave = Products::release;
  }

  void finish() {
    if (call_.dh0 == nullptr) return;
    for (Index k = 0; of_initial_ && k < states_size(); ++k) {
      dh_.get()[k] += of_initial_->get()[k];
      if constexpr (Cell::kHasCellState) dc_.get()[k] += of_initial_->get()[states_size() + k];
    }
    const Index stride = layer_.batch * kLanes;
    unpack_state(dh_.get(), stride, layer_.batch, layer_.units, call_.dh0);
    if constexpr (Cell::kHasCellState) {
      unpack_state(dc_.get(), stride, layer_.batch, layer_.units, call_.dc0);
    }
  }

 private:
  template <int Stage>
  using State = typename Cell::template OfState<Stage>;

  // How many numbers of a factor are in a lane, and whether there are arrays for the cell state.
  static constexpr Index kNumbers = Products::kNumbers;
  static constexpr Index kOfCells = Cell::kHasCellState ? 1 : 0;

  // Calls work(std::integral_constant<int, stage>) for each stage.
  template <class Work>
  static LSTM_IMPL_INLINE void for_each_stage(const Work& work) {
    work(std::integral_constant<int, 0>{});
    if constexpr (Cell::kStages > 1) work(std::integral_constant<int, 1>{});
  }

  // The number of blocks of units in a register tile: four, or fewer if there would not be a tile
  // for every thread.
  static Index width(Index blocks, const Plan& plan) {
    const Index shares = plan.by_rows ? 1 : plan.workers;
    return std::clamp<Index>(blocks / shares, 1, kMostWidth);
  }

  // The number of registers of dz that a stage multiplies.
  template <int Stage>
  Index registers() const {
    return padded_registers<Products, State<Stage>>(blocks_);
  }

  // The number of floats in a stage's panel, and in the panels of all stages.
  template <int Stage>
  Index panel_size() const {
    return registers<Stage>() * kLanes / kNumbers * width_ * kLanes * Products::kParts;
  }
  Index group_size() const {
    Index size = 0;
    for_each_stage([&](auto stage) { size += panel_size<decltype(stage)::value>(); });
    return size;
  }

  template <int Stage>
  float* panel(Index group) const {
    return recurrent_.get() + group * group_size() + (Stage == 0 ? 0 : panel_size<0>());
  }
  Index width_of(Index group) const { return std::min(width_, blocks_ - group * width_); }

  void pack(Index group) {
    for_each_stage([&](auto stage) {
      constexpr int kStage = decltype(stage)::value;
      const Index first_row = group * width_ * kLanes;
      const auto pack = call_.transposed
                            ? pack_rows_of_transpose<Products, State<kStage>, Cell::kGates, Weight>
                            : pack_transposed<Products, State<kStage>, Cell::kGates, Weight>;
      [[maybe_unused]] const auto seen =
          pack(call_.recurrent_kernel, layer_.units, layer_.units, first_row, width_of(group),
               panel<kStage>(group));
      if constexpr (kSplitsFactors<Products>) of_recurrent_.see(seen.upper_half());
    });
  }

  // Step 0 of the backward pass is the last step of the forward pass. The step after the first one
  // of the forward pass stands for the initial state. stage: counted over all steps.
  template <int Stage>
  void advance(Index stage, Index first_row, Index last_row, Index group) {
    if constexpr (Stage + 1 < Cell::kStages) {
      if (stage % Cell::kStages != Stage) {
        advance<Stage + 1>(stage, first_row, last_row, group);
        return;
      }
    }
    const Index s = stage / Cell::kStages;
    last_row = std::min(last_row, std::max(sequences(s), sequences(s - 1)));
    // Up to this row there are rows of the step from which something flows through dz.
    const Index reached = std::clamp(sequences(Stage == 0 ? s - 1 : s), first_row,
                                     std::max(first_row, last_row));
    advance_rows<Stage>(s, first_row, reached, group, true);
    advance_rows<Stage>(s, reached, last_row, group, false);
  }

  template <int Stage>
  void advance_rows(Index s, Index first_row, Index last_row, Index group, bool through_dz) {
    if (first_row >= last_row) return;
    with_constant<kMostWidth>(static_cast<int>(width_of(group)), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      if constexpr (kRoundsFactors<Products>) {
        for (Index row = first_row; row < last_row; row += Products::kMostRows) {
          step_of_rounded<Stage, kWidth>(s, row, std::min(Products::kMostRows, last_row - row),
                                         group, through_dz);
        }
      } else {
        // A tile that is three registers wide cannot be cut into halves.
        constexpr int kMost = kWidth == 3 ? kRows : kTallRows;
        for_each_tile<kMost>(first_row, last_row, [&](auto rows, Index row) {
          step<Stage, decltype(rows)::value, kWidth>(s, row, group, through_dz);
        });
      }
    });
  }

  Index time(Index s) const { return time_of(layer_, layer_.timesteps - 1 - s); }

  // The sequences that step `s` of the backward pass has: none before the first and after the last.
  Index sequences(Index s) const {
    return s < 0 || s >= layer_.timesteps ? 0 : layer_.sequences(time(s));
  }

  Index place(Index block, Index t, Index row) const {
    return block * layer_.rows() + layer_.first_row(t) + row;
  }

  // The number of floats of a state, [block][batch][lane].
  Index states_size() const { return blocks_ * layer_.batch * kLanes; }

  // Returns what the mask says about step `s` of the backward pass.
  StepBits step_bits(Index s, Index row) const {
    return call_.mask != nullptr ? call_.mask[time(s) * layer_.batch + row] : kThere;
  }

  // Returns the part of `flow` that goes on past a step, which may start over. flow: what flows
  // into the state with which the step began. state: 0 for h, 1 for c.
  LSTM_IMPL_INLINE Vector cut(StepBits step, Vector flow, Index block, Index row, Index state) const {
    if (!starts_over(step)) return flow;
    if ((step & kFromInitial) != 0 && of_initial_) {
      float* const total =
          of_initial_->get() + state * states_size() + (block * layer_.batch + row) * kLanes;
      store(total, load(total) + flow);
    }
    return Vector{};
  }

  // Returns the c with which step `s` of the backward pass began.
  LSTM_IMPL_INLINE Vector cells_before(Index s, Index block, Index row) const {
    const StepBits step = step_bits(s, row);
    if ((step & kFromZeros) != 0) return Vector{};
    return cells((step & kFromInitial) != 0 ? layer_.timesteps : s + 1, block, row);
  }

  // Returns c before the step that follows step `s` of the backward pass.
  Vector cells(Index s, Index block, Index row) const {
    if (s == layer_.timesteps) {
      return load(initial_cells_.get() + (block * layer_.batch + row) * kLanes);
    }
    return load(call_.cells + place(block, time(s), row) * kLanes);
  }

  // Returns h before the step that follows step `s` of the backward pass.
  Vector hidden(Index s, Index block, Index row) const {
    const Index unit = block * kLanes, count = layer_.units - unit;
    if (s == layer_.timesteps) {
      if (forgets_initial(layer_, call_.mask, row)) return Vector{};
      return load_part(call_.h0 + row * layer_.units + unit, count);
    }
    return load_part(hidden_.at(time(s), row) + unit, count);
  }

  // Sums up what flows into h. The first stage does this with the step that was computed last. The
  // second stage does it for the h that a gate has reset, with its own step.
  template <int Stage, int kTile, int kWidth>
  void step(Index s, Index row, Index group, bool through_dz) {
    constexpr Index kOfState = State<Stage>::kCount * kLanes;
    const Index first_block = group * width_, from = Stage == 0 ? s - 1 : s;
    const bool carried = Stage == 0 && flows_past(through_dz), multiplied = through_dz && !few_;
    alignas(64) float sums[kTile * kWidth * kLanes];
    const float* dz = multiplied ? call_.dz + place(0, time(from), row) * kPanel : nullptr;
    multiply_blocks<kTile, kWidth>(
        sums, carried ? dh_at(first_block, row) : nullptr, layer_.batch * kLanes,
        multiplied ? dz + State<Stage>::kFirst * kLanes : nullptr,
        layer_.rows() * kPanel, multiplied ? panel<Stage>(group) : nullptr,
        kOfState * kWidth * kLanes, kOfState, multiplied ? blocks_ : 0);
    if (through_dz && few_) add_few<State<Stage>>(sums, from, row, kTile, first_block, kWidth);
    finish<Stage>(sums, s, row, kTile, first_block, kWidth);
  }

  // Adds the product with the kernel, which is read in place.
  template <class Sums>
  LSTM_IMPL_ONCE void add_few(float* sums, Index from, Index row, Index rows,
                                         Index first_block, Index width) const {
    const Index blocks = kLanes * Cell::kGates * layer_.units;
    for (Index r = 0; r < rows; ++r) {
      const float* dz = call_.dz + place(0, time(from), row + r) * kPanel;
      for (Index v = 0; v < width; ++v) {
        float* const sum = sums + (r * width + v) * kLanes;
        store(sum, load(sum) + times_transpose<Sums, Cell::kGates>(
                                   dz, layer_, call_.recurrent_kernel + (first_block + v) * blocks));
      }
    }
  }

  // The same for up to kMostRows rows, with the rounded dz.
  template <int Stage, int kWidth>
  void step_of_rounded(Index s, Index row, Index rows, Index group, bool through_dz) {
    const Index first_block = group * width_, from = Stage == 0 ? s - 1 : s;
    constexpr Index kRow = kWidth * kLanes;
    alignas(64) float sums[Products::kMostRows * kRow];
    const bool carried = Stage == 0 && flows_past(through_dz);
    for (Index r = 0; carried && r < rows; ++r) {
      for (int v = 0; v < kWidth; ++v) {
        store(sums + r * kRow + v * kLanes, load(dh_at(first_block + v, row + r)));
      }
    }
    if constexpr (kSplitsFactors<Products>) {
      if (through_dz) multiply_parts<Stage, kWidth>(sums, carried, from, row, rows, group);
    } else if (through_dz) {
      const Factors<BFloat16> product{rounded<Stage>(from, row), rounded_width<Stage>(),
                                      panel<Stage>(group), registers<Stage>() * kLanes / kNumbers};
      Products::template multiply<PanelPart<kWidth>>(sums, {carried ? sums : nullptr, kRow}, rows,
                                                     {product});
    }
    finish<Stage>(sums, s, row, rows, first_block, kWidth);
  }

  // Computes sums += products of split dz, or sums = products if nothing is `carried`. Rows whose
  // numbers cannot be multiplied in parts are multiplied as floats.
  template <int Stage, int kWidth>
  void multiply_parts(float* sums, bool carried, Index from, Index row, Index rows, Index group) {
    constexpr Index kRow = kWidth * kLanes;
    const Index first_block = group * width_, of_row = kLanes * Cell::kGates * layer_.units;
    const PartRows<Products>& lefts = *parts_[Stage];
    const Factors<BFloat16> product{lefts.row(parts_row(from, row)), lefts.across(),
                                    panel<Stage>(group), registers<Stage>() * kLanes / kNumbers};
    Products::template multiply<PanelPart<kWidth>>(sums, {carried ? sums : nullptr, kRow}, rows,
                                                   {product});
    for (Index r = 0; r < rows; ++r) {
      const std::uint16_t largest = lefts.largest_magnitude(parts_row(from, row + r));
      if (are_usual(largest, of_recurrent_.get())) continue;
      for (Index v = 0; v < kWidth; ++v) {
        const Index block = first_block + v;
        const Vector start = carried ? load(dh_at(block, row + r)) : Vector{};
        store(sums + r * kRow + v * kLanes,
              start + times_any_transpose<State<Stage>, Cell::kGates>(
                          call_.dz + place(0, time(from), row + r) * kPanel, layer_,
                          call_.recurrent_kernel + block * of_row,
                          std::min(kLanes, layer_.units - block * kLanes)));
      }
    }
  }

  // Whether something flows into h besides through dz: at a sequence's last step, to which nothing
  // flows through dz, from outside, where a mask kept the state past the step, and of some cells in
  // every step.
  bool flows_past(bool through_dz) const {
    return !Cell::kHasCellState || !through_dz || call_.mask != nullptr;
  }

  // Completes rows of dh, [row][block][lane]. The function is never inlined, because it would be
  // compiled again for each size of a tile.
  template <int Stage>
  LSTM_IMPL_ONCE void finish(const float* dh, Index s, Index row, Index rows,
                                        Index first_block, Index width) {
    for (Index r = 0; r < rows; ++r) {
      for (Index v = 0; v < width; ++v) {
        const Index block = first_block + v;
        Vector sum = load(dh + (r * width + v) * kLanes);
        if constexpr (Stage > 0) {
          finish_reset(sum, s, row + r, block);
        } else {
          if (s > 0) sum = cut(step_bits(s - 1, row + r), sum, block, row + r, 0);
          if (s == layer_.timesteps) {
            store(dh_at(block, row + r), sum);
          } else {
            finish_row(sum, s, row + r, block);
          }
        }
      }
    }
  }

  // Returns the row of a stage's parts_ that holds dz of a row of step `s`.
  Index parts_row(Index s, Index row) const { return s % 2 * layer_.batch + row; }

  // Returns dz of a row of step `s` in the form that the product of a stage reads,
  // [block][sum][lane].
  template <int Stage>
  BFloat16* rounded(Index s, Index row) const {
    const Index before = Stage == 0 ? 0 : 2 * layer_.batch * rounded_width<0>();
    return reinterpret_cast<BFloat16*>(rounded_->get()) + before +
           (s % 2 * layer_.batch + row) * rounded_width<Stage>();
  }

  // The number of numbers in a row of a stage, and in two steps of all stages.
  template <int Stage>
  Index rounded_width() const {
    return Products::row_width(registers<Stage>() * kLanes);
  }
  Index rounded_size() const {
    Index width = 0;
    for_each_stage([&](auto stage) { width += rounded_width<decltype(stage)::value>(); });
    return 2 * layer_.batch * width;
  }

  float* dh_at(Index block, Index row) const {
    return dh_.get() + (block * layer_.batch + row) * kLanes;
  }

  LSTM_IMPL_INLINE void finish_row(Vector dh, Index s, Index row, Index block) {
    const Index t = time(s), unit = block * kLanes;
    float* dz = call_.dz + place(block, t, row) * kPanel;
    const StepBits step = step_bits(s, row);
    const bool is_valid = is_there(step);
    if (call_.mask != nullptr) store(dh_at(block, row), is_valid ? Vector{} : dh);
    [[maybe_unused]] float* const carried =
        Cell::kHasCellState ? dc_.get() + (block * layer_.batch + row) * kLanes : nullptr;
    if (!is_valid) {
      keep_dz(dz, s, row, block, {});
      if constexpr (Cell::kHasCellState) {
        if (starts_over(step)) store(carried, cut(step, load(carried), block, row, 1));
      }
      return;
    }
    const Value* gates = call_.gates + place(block, t, row) * kPanel;
    if constexpr (Cell::kHasCellState) {
      const Vector c = cells(s, block, row), c_before = cells_before(s, block, row);
      dh += load_part(dy_.at(t, row) + unit, layer_.units - unit);
      Vector dc = load(carried);
      keep_dz(dz, s, row, block, Cell::gradients(gates, dh, c, c_before, dc));
      store(carried, cut(step, dc, block, row, 1));
    } else {
      dh += load_part(dy_.at(t, row) + unit, layer_.units - unit);
      keep_dz(dz, s, row, block, Cell::gradients(gates, dh, hidden(s + 1, block, row)));
      store(dh_at(block, row), dh);
    }
  }

  // dh: what flows into h, as the product of the second stage gives it.
  LSTM_IMPL_INLINE void finish_reset(Vector dh, Index s, Index row, Index block) {
    const Index t = time(s);
    if (!is_there(step_bits(s, row))) return;
    float* const past = dh_at(block, row);
    float* const dz = call_.dz + place(block, t, row) * kPanel;
    store(past, load(past) + Cell::finish_reset(dz, dh, hidden(s + 1, block, row)));
    keep_rounded<0>(s, row, block, [dz](Index sum) { return load(dz + sum * kLanes); });
  }

  LSTM_IMPL_INLINE void keep_dz(float* to, Index s, Index row, Index block,
                                const std::array<Vector, kSums>& dz) {
#pragma GCC unroll 4
    for (Index sum = 0; sum < kSums; ++sum) {
      store(to + sum * kLanes, dz[static_cast<std::size_t>(sum)]);
    }
    const auto given = [&dz](Index sum) { return dz[static_cast<std::size_t>(sum)]; };
    for_each_stage([&](auto stage) { keep_rounded<decltype(stage)::value>(s, row, block, given); });
  }

  // Rounds what the product of a stage will read of a row of dz. In a cell with two stages, the
  // sums of the first stage are complete only after the second.
  template <int Stage, class Sum>
  LSTM_IMPL_INLINE void keep_rounded(Index s, Index row, Index block, const Sum& dz) {
    using Sums = State<Stage>;
    if constexpr (kSplitsFactors<Products>) {
      for (Index sum = 0; sum < Sums::kCount; ++sum) {
        parts_[Stage]->store(parts_row(s, row), (block * Sums::kCount + sum) * kLanes,
                             dz(Sums::kFirst + sum));
      }
    } else if constexpr (kRoundsFactors<Products>) {
      BFloat16* const at = rounded<Stage>(s, row) + block * Sums::kCount * kLanes;
#pragma GCC unroll 4
      for (Index sum = 0; sum < Sums::kCount; ++sum) {
        store(at + sum * kLanes, dz(Sums::kFirst + sum));
      }
    }
  }

  const Backward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_, width_, groups_;
  const bool few_;  // rows: each weight is then read a few times, which no panel is worth making for
  const Rows<const Value> dy_, hidden_;
  const Floats recurrent_;      // transposed, in panels of width_ blocks
  const Floats initial_cells_;  // [block][batch][lane], as are the next two
  const Floats dh_, dc_;        // what flows to the step before, besides through dz
  std::optional<Floats> rounded_;  // dz of two steps, [stage][2][batch]
  std::array<std::optional<PartRows<Products>>, Cell::kStages> parts_;  // or split, [2][batch]
  SharedMagnitude of_recurrent_;             // the largest in the recurrent kernel, if that is split
  // What flowed into the initial h and c at steps where sequences started over from the initial
  // state.
  std::optional<Floats> of_initial_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BACKWARD_H_
