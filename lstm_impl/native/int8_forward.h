// The forward pass with weights and activations in int8.
#ifndef LSTM_IMPL_NATIVE_INT8_FORWARD_H_
#define LSTM_IMPL_NATIVE_INT8_FORWARD_H_

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "bfloat16_activations.h"
#include "int8.h"
#include "int8_products.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "thread_team.h"
#include "vector.h"

namespace lstm_impl {

// A layer's weights, one after the other, from the first line of cache in the caller's memory.
template <class Word>
struct Int8Weights {
  static constexpr Index kLine = 64 / sizeof(Word);

  Int8Weights(const Layer& layer, Word* memory)
      : kernel(memory + (-reinterpret_cast<std::uintptr_t>(memory) / sizeof(Word)) % kLine,
               layer.inputs, layer.units),
        recurrent(kernel.end(), layer.units, layer.units),
        bias(recurrent.end()) {}

  Int8Kernel<Word> kernel, recurrent;
  Word* bias;  // of floats [block][gate][lane]
};

template <class Bytes>
class Int8Pass {
 public:
  Int8Pass(const Int8Forward& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(plan(layer_, pool)),
        blocks_(unit_blocks(layer_)),
        rows_(layer_.timesteps * layer_.batch),
        input_width_(width_of_bytes(layer_.inputs)),
        unit_width_(width_of_bytes(layer_.units)),
        weights_(layer_, call.weights),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        y_(rows_of(layer_, call.y, layer_.units)),
        cells_(blocks_ * layer_.batch * kLanes),
        hidden_(2 * layer_.batch * unit_width_),
        inputs_(floats_for(rows_, input_width_)),
        lefts_(plan_.workers, floats_for(layer_.batch, unit_width_)),
        held_(static_cast<std::size_t>(plan_.workers), -1),
        ahead_(layer_, steps_ahead(layer_, plan_)) {}

  void run(const Pool& pool) {
    pack_state(call_.c0, layer_.batch, layer_.units, cells_.get());
    for (Index b = 0; b < layer_.batch; ++b) {
      copy_row(call_.h0 + b * layer_.units, layer_.units, hidden(-1, b));
    }
    const int parts = plan_.parts(blocks_);
    std::vector<Phase> phases;
    phases.push_back({1, parts, [this, parts](Index, int part) {
                        pack(share(rows_, part, parts), share(rows_, part + 1, parts));
                      }});
    phases.push_back(plan_.all_steps(
        layer_, blocks_, [this](Index s, Index first, Index last, Index block, Index end) {
          advance(s, first, last, block, end);
        }));
    phases.back().leave = Bytes::release;
    ThreadTeam::run(std::move(phases), plan_.workers,
                    call_work(layer_, layer_.inputs + layer_.units), pool);
    const Index last = layer_.timesteps - 1;
    for (Index b = 0; b < layer_.batch; ++b) {
      copy_row(hidden(last, b), layer_.units, call_.h_last + b * layer_.units);
    }
    unpack_state(cells_.get(), layer_.batch * kLanes, layer_.batch, layer_.units, call_.c_last);
  }

 private:
  static constexpr Index kMostRows = 48;  // as in InRegisters

#if defined(LSTM_IMPL_TILES)
  static constexpr bool kTiles = std::is_same_v<Bytes, BytesByTiles>;
#else
  static constexpr bool kTiles = false;
#endif

  static Plan plan(const Layer& layer, const Pool& pool) {
    const Index features = layer.inputs + layer.units;
    return kTiles ? plan_of_tiles(layer, features, pool) : recurrence_plan(layer, features, pool);
  }

  static Index steps_ahead(const Layer& layer, const Plan& plan) {
#if defined(LSTM_IMPL_TILES)
    // Of more rows a step has tiles of its own, and both kernels stay in the second cache.
    if (kTiles && layer.batch < DotsByTiles::kMostRows) {
      return DotsByTiles::steps_ahead(layer, plan);
    }
    if (kTiles) return 1;
#endif
    return StepsAhead::usual(layer);
  }

  // Rows of bytes, and after them what a number of each stands for.
  static Index floats_for(Index rows, Index width) {
    return std::max<Index>(1, rows * (width / static_cast<Index>(sizeof(float)) + 1));
  }
  static LeftBytes lefts_in(float* memory, Index rows, Index width) {
    return {reinterpret_cast<std::uint8_t*>(memory), width,
            memory + rows * width / static_cast<Index>(sizeof(float))};
  }
  LeftBytes inputs() const { return lefts_in(inputs_.get(), rows_, input_width_); }

  void pack(Index first, Index last) {
    for (Index k = first; k < last; ++k) {
      pack_bytes(given_.at(k / layer_.batch, k % layer_.batch), layer_.inputs, inputs().from(k));
    }
  }

  float* hidden(Index s, Index row) const {
    return hidden_.get() + ((s + 1) % 2 * layer_.batch + row) * unit_width_;
  }

  const float* bias(Index block) const {
    return reinterpret_cast<const float*>(weights_.bias) + block * kPanel;
  }

  void advance(Index s, Index first_row, Index last_row, Index first_block, Index last_block) {
    // Each part of the units rounds all of h for itself, unless the buffer has it from another one:
    // to meet once more would take longer.
    const Buffers::Buffer buffer(lefts_);
    const Index rows = last_row - first_row, here = s * layer_.batch + first_row;
    const LeftBytes left = lefts_in(buffer.get(), rows, unit_width_);
    if (Index& held = held_[buffer.number()]; held != here) {
      held = here;
      for (Index r = 0; r < rows; ++r) {
        pack_bytes(hidden(s - 1, first_row + r), layer_.units, left.from(r));
      }
    }
    for (Index k = first_block; k < last_block; ++k) {
      const Index block = there_and_back(s, k, first_block, last_block);
      const Index next =
          k + 1 < last_block ? there_and_back(s, k + 1, first_block, last_block) : block;
      if (ahead_.begin(s)) look_ahead(s, block, next);
      for (Index r = 0; r < rows; r += kMostRows) {
        step(s, first_row + r, std::min(kMostRows, rows - r), block, next, left.from(r));
      }
    }
  }

  void look_ahead(Index s, Index block, Index next) {
    const Index rows = ahead_.count(s) * layer_.batch;
    project(ahead_.sums(block), ahead_.first(s) * layer_.batch, rows, block, next);
  }

  // sums = bias + x * kernel, of `count` rows of x.
  void project(float* sums, Index row, Index count, Index block, Index next) {
    weights_.kernel.template multiply<Bytes>(sums, {bias(block), 0}, inputs().from(row), count,
                                             block, next);
  }

  void step(Index s, Index row, Index rows, Index block, Index next, const LeftBytes& left) {
    alignas(64) float sums[kMostRows * kPanel];
    const Index t = time_of(layer_, s);
    Start start{sums, kPanel};
    if (ahead_.any()) {
      start.from = ahead_.sums(s, row, block);
    } else {
      project(sums, t * layer_.batch + row, rows, block, next);
    }
    weights_.recurrent.template multiply<Bytes>(sums, start, left, rows, block, next);
    // In two goes, as in ForwardPass.
    for (Index r = 0; r < rows; ++r) finish_cell(sums + r * kPanel, t, row + r, block);
    for (Index r = 0; r < rows; ++r) finish_output(sums + r * kPanel, s, t, row + r, block);
  }

  float* cell(Index block, Index row) const {
    return cells_.get() + (block * layer_.batch + row) * kLanes;
  }

  LSTM_IMPL_INLINE void finish_cell(float* z, Index t, Index row, Index block) {
    const Vector i = coarse_sigmoid(load(z)).value, f = coarse_sigmoid(load(z + kLanes)).value;
    const Vector g = coarse_tanh(load(z + 2 * kLanes));
    store(z + 3 * kLanes, coarse_sigmoid(load(z + 3 * kLanes)).value);
    const Vector before = load(cell(block, row));
    store(cell(block, row), valid(t, row) ? f * before + i * g : before);
  }

  LSTM_IMPL_INLINE void finish_output(const float* z, Index s, Index t, Index row, Index block) {
    const Index unit = block * kLanes;
    const Vector h = load(z + 3 * kLanes) * coarse_tanh(load(cell(block, row)));
    const bool here = valid(t, row);
    store_part(y_.at(t, row) + unit, here ? h : Vector{}, layer_.units - unit);
    store(hidden(s, row) + unit, here ? h : load(hidden(s - 1, row) + unit));
  }

  bool valid(Index t, Index row) const {
    return call_.mask == nullptr || call_.mask[t * layer_.batch + row] != 0;
  }

  const Int8Forward& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const Index rows_;                      // of x
  const Index input_width_, unit_width_;  // bytes of a left operand's row
  const Int8Weights<const std::int32_t> weights_;
  const Rows<const float> given_;
  const Rows<float> y_;
  const Floats cells_;           // [block][batch][lane]
  const Floats hidden_;          // h of two steps
  const Floats inputs_;          // the input as left operands
  const Buffers lefts_;          // h as left operands
  std::vector<Index> held_;      // of each buffer, the step and row that it has h from
  const StepsAhead ahead_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INT8_FORWARD_H_
