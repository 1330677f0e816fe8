// The forward pass with products of bfloat16: of layers that are kept in it, and of layers of float
// whose products may be.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_FORWARD_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_FORWARD_H_

#include <algorithm>
#include <type_traits>
#include <vector>

#include "bfloat16_activations.h"
#include "bfloat16_products.h"
#include "gates.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "thread_team.h"
#include "vector.h"

namespace lstm_impl {

template <class Value, class Weight, class Products>
class Bfloat16Forward {
 public:
  Bfloat16Forward(const Forward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(Products::plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        input_pairs_(pairs_of(layer_.inputs)),
        unit_pairs_(pairs_of(layer_.units)),
        input_width_(Products::row_width(layer_.inputs)),
        unit_width_(Products::row_width(layer_.units)),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        y_(rows_of(layer_, call.y, layer_.units)),
        kernel_(blocks_ * input_pairs_ * kPanel),
        recurrent_(blocks_ * unit_pairs_ * kPanel),
        bias_(blocks_ * kPanel),
        cells_(blocks_ * layer_.batch * kLanes),
        hidden_(kRounds<Value> ? 1 : 2 * layer_.batch * unit_width_),
        inputs_(floats_for(std::max<Index>(1, layer_.timesteps * layer_.batch) * input_width_)),
        lefts_(floats_for(2 * layer_.batch * unit_width_)),
        ahead_(layer_, Products::steps_ahead(layer_, plan_)) {}

  void run(const Pool& pool) {
    pack_state(call_.c0, layer_.batch, layer_.units, cells_.get());
    for (Index b = 0; b < layer_.batch; ++b) {
      const Value* h = call_.h0 + b * layer_.units;
      for (Index unit = 0; unit < unit_width_; unit += kLanes) {
        const Index count = layer_.units - unit;
        keep_hidden(-1, b, unit, count > 0 ? load_part(h + unit, count) : Vector{});
        if (count <= 0) keep_hidden(0, b, unit, Vector{});  // padding, which no step writes
      }
    }
    const int workers = plan_.workers;
    const int parts = plan_.parts(blocks_);
    std::vector<Phase> phases;
    phases.push_back({1, parts, [this, parts](Index, int part) { pack(part, parts); }});
    phases.push_back(plan_.all_steps(
        layer_, blocks_, [this](Index s, Index first, Index last, Index block, Index end) {
          advance(s, first, last, block, end);
        }));
    phases.back().leave = Products::release;
    ThreadTeam::run(std::move(phases), workers, call_work(layer_, layer_.inputs + layer_.units),
                    pool);
    const Index last = layer_.timesteps - 1;
    for (Index b = 0; b < layer_.batch; ++b) {
      if constexpr (kRounds<Value>) {
        copy_row(left(last, b), layer_.units, call_.h_last + b * layer_.units);
      } else {
        copy_row(hidden(last, b), layer_.units, call_.h_last + b * layer_.units);
      }
    }
    unpack_state(cells_.get(), layer_.batch * kLanes, layer_.batch, layer_.units, call_.c_last);
  }

 private:
  using Left = typename Products::Left;

  static constexpr Index kMostRows = Products::kMostRows;

  static Index pairs_of(Index rows) {
    return blocks_of(rows, 2 * Products::kPairs) * Products::kPairs;
  }

  static Index floats_for(Index numbers) {
    return blocks_of(numbers * static_cast<Index>(sizeof(Left)), sizeof(float));
  }

  void pack(int part, int parts) {
    const Index first = share(blocks_, part, parts), last = share(blocks_, part + 1, parts);
    const Weights<Weight>& weights = call_.weights;
    pack_pairs<Products>(weights.kernel, layer_.inputs, layer_.units, first, last, input_pairs_,
                         kernel_.get());
    pack_pairs<Products>(weights.recurrent_kernel, layer_.units, layer_.units, first, last,
                         unit_pairs_, recurrent_.get());
    pack_gates(weights.bias, 1, layer_.units, first, last, bias_.get());
    const Index rows = layer_.timesteps * layer_.batch;
    for (Index k = share(rows, part, parts); k < share(rows, part + 1, parts); ++k) {
      const Value* from = given_.at(k / layer_.batch, k % layer_.batch);
      Left* to = reinterpret_cast<Left*>(inputs_.get()) + k * input_width_;
      for (Index at = 0; at < input_width_; at += kLanes) {
        const Index count = layer_.inputs - at;
        const Vector x = count > 0 ? load_part(from + at, count) : Vector{};
        Products::store_left(to + at, rounded<BFloat16>(x));
      }
    }
  }

  const Left* input(Index t, Index row) const {
    return reinterpret_cast<const Left*>(inputs_.get()) + (t * layer_.batch + row) * input_width_;
  }

  // h after step `s` as the left operand of the next step's product and, where that is rounded, as
  // it is carried on.
  float* hidden(Index s, Index row) const {
    return hidden_.get() + ((s + 1) % 2 * layer_.batch + row) * unit_width_;
  }
  Left* left(Index s, Index row) const {
    return reinterpret_cast<Left*>(lefts_.get()) + ((s + 1) % 2 * layer_.batch + row) * unit_width_;
  }

  LSTM_IMPL_INLINE void keep_hidden(Index s, Index row, Index unit, Vector h) const {
    if constexpr (!kRounds<Value>) {
      store(hidden(s, row) + unit, h);
      h = rounded<BFloat16>(h);
    }
    Products::store_left(left(s, row) + unit, h);
  }

  LSTM_IMPL_INLINE Vector kept_hidden(Index s, Index row, Index unit) const {
    if constexpr (kRounds<Value>) return load(left(s, row) + unit);
    return load(hidden(s, row) + unit);
  }

  const float* kernel(Index block) const { return kernel_.get() + block * input_pairs_ * kPanel; }
  const float* recurrent(Index block) const {
    return recurrent_.get() + block * unit_pairs_ * kPanel;
  }
  const float* bias(Index block) const { return bias_.get() + block * kPanel; }

  void advance(Index s, Index first_row, Index last_row, Index first_block, Index last_block) {
    for (Index k = first_block; k < last_block; ++k) {
      const Index block = there_and_back(s, k, first_block, last_block);
      if (ahead_.begin(s)) look_ahead(s, block);
      for (Index row = first_row; row < last_row; row += kMostRows) {
        step(s, row, std::min(last_row, row + kMostRows), block);
      }
    }
  }

  void look_ahead(Index s, Index block) {
    Products::template multiply<kGates>(ahead_.sums(block), {bias(block), 0},
                                        ahead_.count(s) * layer_.batch,
                                        {of_input(ahead_.first(s), 0, block)});
  }

  Factors<Left> of_input(Index t, Index row, Index block) const {
    return {input(t, row), input_width_, kernel(block), input_pairs_};
  }

  void step(Index s, Index first_row, Index last_row, Index block) {
    alignas(64) float sums[kMostRows * kPanel];
    const Index t = time_of(layer_, s), rows = last_row - first_row;
    const Factors<Left> of_state{left(s - 1, first_row), unit_width_, recurrent(block),
                                 unit_pairs_};
    const float* more = nullptr;  // of the input, made ahead: added where sums are read anyway
    if (ahead_.any()) {
      more = ahead_.sums(s, first_row, block);
      Products::template multiply<kGates>(sums, {nullptr, 0}, rows, {of_state});
    } else {
      Products::template multiply<kGates>(sums, {bias(block), 0}, rows,
                                          {of_input(t, first_row, block), of_state});
    }
    // In two goes, as in ForwardPass.
    for (Index r = 0; r < rows; ++r) {
      float* const z = sums + r * kPanel;
      if (more != nullptr) add_row(z, more + r * kPanel);
      finish_cell(z, t, first_row + r, block);
    }
    for (Index r = 0; r < rows; ++r) finish_output(sums + r * kPanel, s, t, first_row + r, block);
  }

  static LSTM_IMPL_INLINE void add_row(float* to, const float* from) {
#pragma GCC unroll 4
    for (Index at = 0; at < kPanel; at += kLanes) store(to + at, load(to + at) + load(from + at));
  }

  float* cell(Index block, Index row) const {
    return cells_.get() + (block * layer_.batch + row) * kLanes;
  }

  // The gates of z, of which o replaces its sum there, and the new cell state.
  LSTM_IMPL_INLINE void finish_cell(float* z, Index t, Index row, Index block) {
    const Index place = (block * layer_.timesteps + t) * layer_.batch + row;
    Value* const kept = call_.gates != nullptr ? call_.gates + place * kPanel : nullptr;
    const Vector before = load(cell(block, row));
    const Vector c = finish_gates<BFloat16>(z, before, valid(t, row), kept);
    store(cell(block, row), c);
    if (call_.cells != nullptr) store(call_.cells + place * kLanes, c);
  }

  LSTM_IMPL_INLINE void finish_output(const float* z, Index s, Index t, Index row, Index block) {
    const Index unit = block * kLanes, count = layer_.units - unit;
    const Vector o = load(z + 3 * kLanes);
    const Vector h = rounded<Value>(o * coarse_tanh(load(cell(block, row))));
    const bool here = valid(t, row);
    store_part(y_.at(t, row) + unit, here ? h : Vector{}, count);
    const Vector carried = here ? h : kept_hidden(s - 1, row, unit);
    keep_hidden(s, row, unit, carried);
    if (call_.hidden != nullptr) {
      store_part(call_.hidden + (t * layer_.batch + row) * layer_.units + unit, carried, count);
    }
  }

  bool valid(Index t, Index row) const {
    return call_.mask == nullptr || call_.mask[t * layer_.batch + row] != 0;
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const Index input_pairs_, unit_pairs_;  // of rows of the kernels
  const Index input_width_, unit_width_;  // numbers of a left operand's row, padded with zeros
  const Rows<const Value> given_;
  const Rows<Value> y_;
  const Floats kernel_, recurrent_;  // in pairs
  const Floats bias_;
  const Floats cells_;           // [block][batch][lane]
  const Floats hidden_;          // h of two steps
  const Floats inputs_, lefts_;  // left operands: x [time][batch], h of two steps [2][batch]
  const StepsAhead ahead_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_FORWARD_H_
