// The backward pass through the recurrence: dz of every step, from the last to the first.
#ifndef LSTM_IMPL_NATIVE_BACKWARD_H_
#define LSTM_IMPL_NATIVE_BACKWARD_H_

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "activations.h"
#include "bfloat16_products.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

// Products: how those of dz and the recurrent kernel's transpose are made, of floats or of numbers
// rounded to bfloat16.
template <class Value, class Weight, class Products = OfFloats>
class BackwardPass {
 public:
  BackwardPass(const Backward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(Products::plan(layer_, layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        width_(width(blocks_, plan_)),
        groups_(blocks_of(blocks_, width_)),
        few_(!kRoundsFactors<Products> && has_few_rows(layer_)),
        dy_(rows_of(layer_, call.dy, layer_.units)),
        recurrent_(few_ ? 0 : blocks_ * kLanes * blocks_ * kPanel / kNumbers),
        initial_cells_(blocks_ * layer_.batch * kLanes),
        dh_(blocks_ * layer_.batch * kLanes),
        dc_(blocks_ * layer_.batch * kLanes) {
    if constexpr (kRoundsFactors<Products>) {
      rounded_.emplace(blocks_of(2 * layer_.batch * rounded_width(), 2));
    }
  }

  int workers() const { return plan_.workers; }

  void add_phases(std::vector<Phase>& phases) {
    const Index batch = layer_.batch, units = layer_.units;
    pack_state(call_.c0, batch, units, initial_cells_.get());
    pack_state(call_.dh_last, batch, units, dh_.get());
    pack_state(call_.dc_last, batch, units, dc_.get());
    const int groups = static_cast<int>(groups_);
    if (!few_) phases.push_back({1, groups, [this](Index, int group) { pack(group); }});
    if constexpr (kRoundsFactors<Products>) {
      // Of padding, which no step writes.
      std::fill_n(rounded(0, 0), 2 * batch * rounded_width(), BFloat16{0});
    }
    // One step more is for the state before the first.
    const Index steps = layer_.timesteps + (call_.dh0 != nullptr ? 1 : 0);
    if (plan_.by_rows) {
      phases.push_back(plan_.chains(layer_, steps, [this](Index s, Index first, Index last) {
        for (Index k = 0; k < groups_; ++k) {
          advance(s, first, last, there_and_back(s, k, 0, groups_));
        }
      }));
    } else {
      phases.push_back(
          {steps, groups, [this](Index s, int group) { advance(s, 0, layer_.batch, group); }});
    }
    phases.back().leave = Products::release;
  }

  void finish() {
    if (call_.dh0 == nullptr) return;
    const Index stride = layer_.batch * kLanes;
    unpack_state(dh_.get(), stride, layer_.batch, layer_.units, call_.dh0);
    unpack_state(dc_.get(), stride, layer_.batch, layer_.units, call_.dc0);
  }

 private:
  // Numbers of a factor in a lane.
  static constexpr Index kNumbers = Products::kNumbers;

  // Blocks of units of one register tile: four, or fewer where every thread is to have some.
  static Index width(Index blocks, const Plan& plan) {
    const Index shares = plan.by_rows ? 1 : plan.workers;
    return std::clamp<Index>(blocks / shares, 1, kGates);
  }

  float* panel(Index group) const {
    return recurrent_.get() + group * width_ * kLanes * blocks_ * kPanel / kNumbers;
  }
  Index width_of(Index group) const { return std::min(width_, blocks_ - group * width_); }

  void pack(Index group) {
    pack_transposed<Products>(call_.recurrent_kernel, layer_.units, layer_.units,
                              group * width_ * kLanes, width_of(group), panel(group));
  }

  // Backward, step 0 is the last of the forward pass; the one after its first is the initial state.
  void advance(Index s, Index first_row, Index last_row, Index group) {
    with_constant<kGates>(static_cast<int>(width_of(group)), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      if constexpr (kRoundsFactors<Products>) {
        for (Index row = first_row; row < last_row; row += Products::kMostRows) {
          step_of_rounded<kWidth>(s, row, std::min(Products::kMostRows, last_row - row), group);
        }
      } else {
        // Three registers have no halves.
        constexpr int kMost = kWidth == 3 ? kRows : kTallRows;
        for_each_tile<kMost>(first_row, last_row, [&](auto rows, Index row) {
          step<decltype(rows)::value, kWidth>(s, row, group);
        });
      }
    });
  }

  Index time(Index s) const { return time_of(layer_, layer_.timesteps - 1 - s); }

  Index place(Index block, Index t, Index row) const {
    return (block * layer_.timesteps + t) * layer_.batch + row;
  }

  // c before the step after step `s` of the backward pass.
  Vector cells(Index s, Index block, Index row) const {
    if (s == layer_.timesteps) {
      return load(initial_cells_.get() + (block * layer_.batch + row) * kLanes);
    }
    return load(call_.cells + place(block, time(s), row) * kLanes);
  }

  template <int kTile, int kWidth>
  void step(Index s, Index row, Index group) {
    const Index first_block = group * width_;
    // What flows into h: at the last step from outside; where a mask kept the state, past the step.
    const bool carried = s == 0 || call_.mask != nullptr;
    alignas(64) float sums[kTile * kWidth * kLanes];
    constexpr int kPart = part_of(kTile, kWidth);
    static_assert(kWidth % kPart == 0);
    for (int part = 0; part < kWidth; part += kPart) {
      Tile<kTile, kPart> dh;
      dh.clear();
      if (carried) {
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 8
          for (int v = 0; v < kPart; ++v) {
            dh.at[r][v] = load(dh_at(first_block + part + v, row + r));
          }
        }
      }
      if (s > 0 && few_) {
        const Index blocks = kLanes * kGates * layer_.units;
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) {
          const float* dz = call_.dz + place(0, time(s - 1), row + r) * kPanel;
#pragma GCC unroll 8
          for (int v = 0; v < kPart; ++v) {
            dh.at[r][v] += times_transpose(
                dz, layer_, call_.recurrent_kernel + (first_block + part + v) * blocks);
          }
        }
      } else if (s > 0) {
        const Index after = time(s - 1);
        const float* right = panel(group) + part * kLanes;
        for (Index block = 0; block < blocks_; ++block) {
          add_product<kWidth>(dh, call_.dz + place(block, after, row) * kPanel, kPanel, 1, kPanel,
                              right + block * kPanel * kWidth * kLanes);
        }
      }
      dh.spill(sums + part * kLanes, kWidth * kLanes);
    }
    finish<kWidth>(sums, s, row, kTile, first_block);
  }

  // The same of up to kMostRows rows, by dz as it was rounded in the step before.
  template <int kWidth>
  void step_of_rounded(Index s, Index row, Index rows, Index group) {
    const Index first_block = group * width_;
    constexpr Index kRow = kWidth * kLanes;
    alignas(64) float sums[Products::kMostRows * kRow];
    const bool carried = s == 0 || call_.mask != nullptr;
    for (Index r = 0; carried && r < rows; ++r) {
      for (int v = 0; v < kWidth; ++v) {
        store(sums + r * kRow + v * kLanes, load(dh_at(first_block + v, row + r)));
      }
    }
    if (s > 0) {
      const Factors<BFloat16> product{rounded(s - 1, row), rounded_width(), panel(group),
                                      blocks_ * kPanel / 2};
      Products::template multiply<kWidth>(sums, {carried ? sums : nullptr, kRow}, rows, {product});
    }
    finish<kWidth>(sums, s, row, rows, first_block);
  }

  // Of rows of dh, [row][block][lane].
  template <int kWidth, class Count>
  LSTM_IMPL_INLINE void finish(const float* dh, Index s, Index row, Count rows, Index first_block) {
    for (Count r = 0; r < rows; ++r) {
      for (int v = 0; v < kWidth; ++v) {
        const Vector sum = load(dh + (r * kWidth + v) * kLanes);
        if (s == layer_.timesteps) {
          store(dh_at(first_block + v, row + r), sum);
        } else {
          finish_row(sum, s, row + r, first_block + v);
        }
      }
    }
  }

  // dz of a row as the product of the step after step `s` reads it, [block][gate][lane].
  BFloat16* rounded(Index s, Index row) const {
    return reinterpret_cast<BFloat16*>(rounded_->get()) +
           (s % 2 * layer_.batch + row) * rounded_width();
  }
  Index rounded_width() const { return Products::row_width(blocks_ * kPanel); }

  float* dh_at(Index block, Index row) const {
    return dh_.get() + (block * layer_.batch + row) * kLanes;
  }

  LSTM_IMPL_INLINE void finish_row(Vector dh, Index s, Index row, Index block) {
    const Index t = time(s), unit = block * kLanes;
    float* dz = call_.dz + place(block, t, row) * kPanel;
    if (call_.mask != nullptr) {
      const bool valid = call_.mask[t * layer_.batch + row] != 0;
      store(dh_at(block, row), valid ? Vector{} : dh);
      if (!valid) {
        keep_dz(dz, s, row, block, {});
        return;
      }
    }
    const Value* gates = call_.gates + place(block, t, row) * kPanel;
    const Sigmoid i = read_sigmoid<Value>(load(gates));
    const Sigmoid f = read_sigmoid<Value>(load(gates + kLanes));
    const Vector g = load(gates + 2 * kLanes);
    const Sigmoid o = read_sigmoid<Value>(load(gates + 3 * kLanes));
    const Vector tanh_c = tanh(cells(s, block, row));
    const Vector c_before = cells(s + 1, block, row);
    float* carried = dc_.get() + (block * layer_.batch + row) * kLanes;
    dh += load_part(dy_.at(t, row) + unit, layer_.units - unit);
    const Vector dc = load(carried) + dh * o.value * (1.0f - tanh_c * tanh_c);
    keep_dz(dz, s, row, block,
            {dc * g * i.value * i.rest, dc * c_before * f.value * f.rest,
             dc * i.value * (1.0f - g * g), dh * tanh_c * o.value * o.rest});
    store(carried, dc * f.value);
  }

  LSTM_IMPL_INLINE void keep_dz(float* to, Index s, Index row, Index block,
                                const std::array<Vector, kGates>& dz) {
#pragma GCC unroll 4
    for (Index gate = 0; gate < kGates; ++gate) {
      store(to + gate * kLanes, dz[static_cast<std::size_t>(gate)]);
    }
    if constexpr (kRoundsFactors<Products>) {
      BFloat16* const at = rounded(s, row) + block * kPanel;
#pragma GCC unroll 4
      for (Index gate = 0; gate < kGates; ++gate) {
        store(at + gate * kLanes, dz[static_cast<std::size_t>(gate)]);
      }
    }
  }

  const Backward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_, width_, groups_;
  const bool few_;  // rows: each weight is then read a few times, which no panel is worth making for
  const Rows<const Value> dy_;
  const Floats recurrent_;      // transposed, in panels of width_ blocks
  const Floats initial_cells_;  // [block][batch][lane], as are the next two
  const Floats dh_, dc_;        // what flows to the step before, besides through dz
  std::optional<Floats> rounded_;  // dz of two steps, [2][batch]
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BACKWARD_H_
