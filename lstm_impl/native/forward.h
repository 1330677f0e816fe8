// The forward pass: each step's product and, while its sums are in registers, the gates.
#ifndef LSTM_IMPL_NATIVE_FORWARD_H_
#define LSTM_IMPL_NATIVE_FORWARD_H_

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "activations.h"
#include "crew.h"
#include "kernels.h"
#include "memory.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "vector.h"

namespace lstm_impl {

class ForwardPass {
 public:
  ForwardPass(const Forward& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(recurrence_plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        steps_ahead_(steps_ahead(layer_)),
        x_(rows_of(layer_, call.x, layer_.inputs)),
        y_(rows_of(layer_, call.y, layer_.units)),
        kernel_(blocks_ * layer_.inputs * kPanel),
        recurrent_(blocks_ * layer_.units * kPanel),
        bias_(blocks_ * kPanel),
        cells_(blocks_ * layer_.batch * kLanes) {
    if (steps_ahead_ > 1) ahead_.emplace(blocks_ * steps_ahead_ * layer_.batch * kPanel);
    if (call.mask != nullptr && call.hidden == nullptr) {
      states_.emplace(2 * layer_.batch * layer_.units);
    }
  }

  void run(const Pool& pool) {
    pack_state(call_.c0, layer_.batch, layer_.units, cells_.get());
    const int workers = plan_.workers;
    const int parts = static_cast<int>(std::min<Index>(blocks_, workers == 1 ? 1 : 2 * workers));
    std::vector<Phase> phases;
    phases.push_back({1, parts, [this, parts](Index, int part) {
                        pack(share(blocks_, part, parts), share(blocks_, part + 1, parts));
                      }});
    if (plan_.by_rows || workers == 1) {
      phases.push_back({1, workers, [this, workers](Index, int part) {
                          const Index first = share(layer_.batch, part, workers);
                          const Index last = share(layer_.batch, part + 1, workers);
                          for (Index s = 0; s < layer_.timesteps; ++s) {
                            advance(s, first, last, 0, blocks_);
                          }
                        }});
    } else {
      phases.push_back({layer_.timesteps, parts, [this, parts](Index s, int part) {
                          advance(s, 0, layer_.batch, share(blocks_, part, parts),
                                  share(blocks_, part + 1, parts));
                        }});
    }
    Crew::run(std::move(phases), workers, pool);
    finish();
  }

 private:
  // The input's product of several steps at once makes full tiles of few sequences, and reads the
  // kernel once for all of them. From 12 sequences on a step has full tiles of its own, and the
  // product goes on in the same registers.
  static Index steps_ahead(const Layer& layer) {
    constexpr Index kFull = 12, kRowsAhead = 48;
    if (layer.batch >= kFull) return 1;
    return std::min(layer.timesteps, blocks_of(kRowsAhead, layer.batch));
  }

  void pack(Index first, Index last) {
    pack_gates(call_.weights.kernel, layer_.inputs, layer_.units, first, last, kernel_.get());
    pack_gates(call_.weights.recurrent_kernel, layer_.units, layer_.units, first, last,
               recurrent_.get());
    pack_gates(call_.weights.bias, 1, layer_.units, first, last, bias_.get());
  }

  // Where h is after step `s` of the forward pass; before the first it is the initial state.
  Rows<float> hidden(Index s) const {
    if (s < 0) return {const_cast<float*>(call_.h0), 0, layer_.units};
    const Index t = time_of(layer_, s);
    if (call_.mask == nullptr) return {y_.at(t), 0, y_.batch};
    const Index size = layer_.batch * layer_.units;
    if (call_.hidden != nullptr) return {call_.hidden + t * size, 0, layer_.units};
    return {states_->get() + (s % 2) * size, 0, layer_.units};
  }

  float* cells(Index s, Index block) const {
    const Index batch = layer_.batch;
    if (s < 0 || call_.cells == nullptr) return cells_.get() + block * batch * kLanes;
    return call_.cells + (block * layer_.timesteps + time_of(layer_, s)) * batch * kLanes;
  }

  void advance(Index s, Index first_row, Index last_row, Index first_block, Index last_block) {
    for (Index k = first_block; k < last_block; ++k) {
      const Index block = there_and_back(s, k, first_block, last_block);
      if (steps_ahead_ > 1 && s % steps_ahead_ == 0) look_ahead(s, block);
      for_each_tile<kTallRows>(first_row, last_row, [&](auto rows, Index row) {
        step<decltype(rows)::value>(s, row, block);
      });
    }
  }

  // Of the steps that are computed ahead from step `s` on, the first in time, and how many.
  Index first_ahead(Index s, Index count) const {
    return layer_.reverse ? layer_.timesteps - s - count : s;
  }
  Index count_ahead(Index s) const { return std::min(steps_ahead_, layer_.timesteps - s); }

  void look_ahead(Index s, Index block) {
    const Index count = count_ahead(s), t = first_ahead(s, count);
    float* to = ahead_->get() + block * steps_ahead_ * layer_.batch * kPanel;
    if (layer_.batch_major) {
      for (Index b = 0; b < layer_.batch; ++b) {
        project(x_.at(t, b), x_.time, count, block, to + b * kPanel, layer_.batch * kPanel);
      }
    } else {
      project(x_.at(t), x_.batch, count * layer_.batch, block, to, kPanel);
    }
  }

  // Bias and input product of `rows` rows that lie `across` floats apart.
  void project(const float* x, Index across, Index rows, Index block, float* to, Index to_across) {
    const float* kernel = kernel_.get() + block * layer_.inputs * kPanel;
    for_each_tile<kRows>(0, rows, [&](auto constant, Index row) {
      constexpr int kTile = decltype(constant)::value;
      Tile<kTile, kGates> z;
      z.fill(bias_.get() + block * kPanel, 0);
      add_product<kGates>(z, x + row * across, across, 1, layer_.inputs, kernel);
      z.spill(to + row * to_across, to_across);
    });
  }

  // What has been computed ahead for a step.
  const float* ahead(Index s, Index t, Index row, Index block) const {
    const Index from = s - s % steps_ahead_;
    const Index place = t - first_ahead(from, count_ahead(from));
    return ahead_->get() + ((block * steps_ahead_ + place) * layer_.batch + row) * kPanel;
  }

  template <int kTile>
  void step(Index s, Index row, Index block) {
    const Index t = time_of(layer_, s);
    const Rows<float> before = hidden(s - 1);
    alignas(64) float sums[kTile * kPanel];
    constexpr int kPart = part_of(kTile, kGates);
    for (Index gate = 0; gate < kGates; gate += kPart) {
      const Index offset = gate * kLanes;
      Tile<kTile, kPart> z;
      if (steps_ahead_ > 1) {
        z.fill(ahead(s, t, row, block) + offset, kPanel);
      } else {
        z.fill(bias_.get() + block * kPanel + offset, 0);
        add_product<kGates>(z, x_.at(t, row), x_.batch, 1, layer_.inputs,
                            kernel_.get() + block * layer_.inputs * kPanel + offset);
      }
      add_product<kGates>(z, before.at(0, row), before.batch, 1, layer_.units,
                          recurrent_.get() + block * layer_.units * kPanel + offset);
      z.spill(sums + offset, kPanel);
    }
    // In two goes: a row's tanh(c) waits long for its gates, and a processor looks ahead by some
    // hundred instructions, so that other rows' gates would wait too.
    for (int r = 0; r < kTile; ++r) finish_cell(sums + r * kPanel, s, t, row + r, block);
    for (int r = 0; r < kTile; ++r) {
      finish_output(sums + r * kPanel, s, t, row + r, block, before.at(0, row + r));
    }
  }

  // The gates of z, of which o replaces its sum there, and the new cell state.
  LSTM_IMPL_INLINE void finish_cell(float* z, Index s, Index t, Index row, Index block) {
    const Vector i = sigmoid(load(z)), f = sigmoid(load(z + kLanes));
    const Vector g = tanh(load(z + 2 * kLanes)), o = sigmoid(load(z + 3 * kLanes));
    store(z + 3 * kLanes, o);
    if (call_.gates != nullptr) {
      float* gates = call_.gates + ((block * layer_.timesteps + t) * layer_.batch + row) * kPanel;
      store(gates, i);
      store(gates + kLanes, f);
      store(gates + 2 * kLanes, g);
      store(gates + 3 * kLanes, o);
    }
    const Vector before = load(cells(s - 1, block) + row * kLanes);
    const Vector c = valid(t, row) ? f * before + i * g : before;
    store(cells(s, block) + row * kLanes, c);
  }

  LSTM_IMPL_INLINE void finish_output(const float* z, Index s, Index t, Index row, Index block,
                                      const float* h_before) {
    const Index unit = block * kLanes, count = layer_.units - unit;
    const Vector o = load(z + 3 * kLanes);
    Vector h = o * tanh(load(cells(s, block) + row * kLanes));
    if (call_.mask != nullptr) {
      store_part(y_.at(t, row) + unit, valid(t, row) ? h : Vector{}, count);
      if (!valid(t, row)) h = load_part(h_before + unit, count);
    }
    store_part(hidden(s).at(0, row) + unit, h, count);
  }

  bool valid(Index t, Index row) const {
    return call_.mask == nullptr || call_.mask[t * layer_.batch + row] != 0;
  }

  void finish() {
    const Index last = layer_.timesteps - 1;
    const Rows<float> state = hidden(last);
    for (Index b = 0; b < layer_.batch; ++b) {
      std::memcpy(call_.h_last + b * layer_.units, state.at(0, b),
                  static_cast<std::size_t>(layer_.units) * sizeof(float));
    }
    const Index steps = call_.cells == nullptr ? 1 : layer_.timesteps;
    unpack_state(cells(last, 0), steps * layer_.batch * kLanes, layer_.batch, layer_.units,
                 call_.c_last);
  }

  const Forward& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const Index steps_ahead_;
  const Rows<const float> x_;
  const Rows<float> y_;
  const Floats kernel_, recurrent_, bias_;  // in panels
  const Floats cells_;                      // [block][batch][lane]: c0, or c where nothing is kept
  std::optional<Floats> ahead_;             // [block][steps ahead][batch][gate][lane]
  std::optional<Floats> states_;            // h of two steps, where there is a mask
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FORWARD_H_
