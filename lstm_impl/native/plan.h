// How a layer's work is shared between threads, and where its rows lie.
#ifndef LSTM_IMPL_NATIVE_PLAN_H_
#define LSTM_IMPL_NATIVE_PLAN_H_

#include <algorithm>

#include "thread_team.h"
#include "kernels.h"
#include "vector.h"

namespace lstm_impl {

// Rows [time, batch] of some features: row (t, b) is at data + t * time + b * batch.
template <class Float>
struct Rows {
  Float* data;
  Index time, batch;

  Float* at(Index t) const { return data + t * time; }
  Float* at(Index t, Index b) const { return data + t * time + b * batch; }
};

template <class Float>
Rows<Float> rows_of(const Layer& layer, Float* data, Index features) {
  if (layer.batch_major) return {data, features, layer.timesteps * features};
  return {data, layer.batch * features, features};
}

// The time at which a forward pass is in its step `s`.
inline Index time_of(const Layer& layer, Index s) {
  return layer.reverse ? layer.timesteps - 1 - s : s;
}

inline Index unit_blocks(const Layer& layer) { return blocks_of(layer.units, kLanes); }

// The first of `count` things that segment `segment` of `segments` has.
inline Index share(Index count, int segment, int segments) {
  return static_cast<Index>(segment) * count / segments;
}

// Sequences a thread must have for the batch to be shared out, each thread going through all steps
// by itself: with fewer, the weights are read too often for what is done with them. Less is shared
// out by units, where the threads meet after every step.
constexpr Index kRowsPerThread = 12;

// Multiplications in a step that are worth meeting for, a few microseconds' worth.
constexpr double kStepWork = 2e5;

// Multiplications of a call that are worth waking a thread for, some tens of microseconds' worth.
constexpr double kCallWork = 1e6;

// Where the batch is shared out, it is in more groups of sequences than there are threads, so that
// one on a slower processor does less. Weights that do not fit a core's second cache, or leave no
// room there, are to be read for more of them at once.
constexpr Index kRowsOfGroup = 8, kRowsOfWideGroup = 20;
constexpr double kWideWeights = 1 << 18;  // floats

// Multiplications of a group that are done before another one is looked for, some tens of
// microseconds' worth.
constexpr double kTaskWork = 5e6;

struct Plan {
  int workers;
  bool by_rows;
  int groups = 1;   // of sequences, where it is by rows
  Index steps = 1;  // of a group at once

  // `steps_in_all` of `advance(step, first row, last row)` for every group.
  template <class Advance>
  Phase chains(const Layer& layer, Index steps_in_all, Advance advance) const {
    const auto task = [plan = *this, batch = layer.batch, steps_in_all, advance](Index number,
                                                                                 int group) {
      const Index first = share(batch, group, plan.groups);
      const Index last = share(batch, group + 1, plan.groups);
      const Index end = std::min(steps_in_all, (number + 1) * plan.steps);
      for (Index s = number * plan.steps; s < end; ++s) advance(s, first, last);
    };
    return {blocks_of(steps_in_all, steps), groups, task, true};
  }

  // Segments in which packing and steps that are shared out by units divide `blocks`.
  int parts(Index blocks) const {
    return static_cast<int>(std::min<Index>(blocks, workers == 1 ? 1 : 2 * workers));
  }

  // `steps_in_all` of `advance(step, first row, last row, first block, last block)`: of a group of
  // sequences one after the other, or of all sequences by parts of the blocks.
  template <class Advance>
  Phase all_steps(const Layer& layer, Index steps_in_all, Index blocks, Advance advance) const {
    if (by_rows) {
      return chains(layer, steps_in_all, [blocks, advance](Index s, Index first, Index last) {
        advance(s, first, last, 0, blocks);
      });
    }
    const int all = parts(blocks);
    return {steps_in_all, all, [batch = layer.batch, blocks, all, advance](Index s, int part) {
              advance(s, 0, batch, share(blocks, part, all), share(blocks, part + 1, all));
            }};
  }
};

inline int workers_for(double multiplications, const Pool& pool) {
  return multiplications < kCallWork ? 1 : std::max(1, pool.threads);
}

inline Plan alone(const Layer& layer) { return {1, true, 1, layer.timesteps + 1}; }

// step: multiplications of one for the whole batch.
inline Plan plan_by_rows(const Layer& layer, double step, int workers) {
  if (workers == 1) return alone(layer);
  const bool wide = step / static_cast<double>(layer.batch) > kWideWeights;
  const Index most = layer.batch / (wide ? kRowsOfWideGroup : kRowsOfGroup);
  const auto groups = static_cast<int>(std::clamp<Index>(most, workers, 2 * workers));
  const double work = step / groups;
  return {workers, true, groups, std::max<Index>(1, static_cast<Index>(kTaskWork / work))};
}

// Multiplications of a step whose products have so many `features`.
inline double step_work(const Layer& layer, Index features) {
  return static_cast<double>(layer.gates() * layer.batch) * static_cast<double>(layer.units) *
         static_cast<double>(features);
}

// How long a call takes, in multiplications: to read a weight, or to write its gradient, takes four.
inline double call_work(const Layer& layer, Index features) {
  const double weights = static_cast<double>(layer.gates() * layer.units) * static_cast<double>(features);
  return weights * static_cast<double>(layer.timesteps * layer.batch + 4);
}

inline Plan plan_by_units(const Layer& layer, double step, int workers) {
  const Index most = step < kStepWork ? 1 : std::min<Index>(workers, unit_blocks(layer));
  return most == 1 ? alone(layer) : Plan{static_cast<int>(most), false};
}

// Of the part that goes step by step. `features` are those of the products in a step.
inline Plan recurrence_plan(const Layer& layer, Index features, const Pool& pool) {
  const double step = step_work(layer, features);
  // A step of one sequence takes about as long as of four: it waits for the weights.
  const double fewest = 4 / static_cast<double>(std::clamp<Index>(layer.batch, 1, 4));
  const int workers = workers_for(step * fewest * static_cast<double>(layer.timesteps), pool);
  if (layer.batch >= kRowsPerThread * 2) {
    const auto most = static_cast<int>(std::min<Index>(workers, layer.batch / kRowsPerThread));
    // Where units would keep more threads busy, they are what is shared out.
    if (most == workers || step < kStepWork * workers) return plan_by_rows(layer, step, most);
  }
  return plan_by_units(layer, step, workers);
}

// The same for tiles of 16 rows. The batch is shared out between threads if each gets 16 rows and
// the weights leave room in its second cache: to wait for the other threads after every step, and
// to read what they have computed, takes longer than to read all weights from that cache. With more
// weights than fit, each thread reads only its share of them.
inline Plan plan_of_tiles(const Layer& layer, Index features, const Pool& pool) {
  constexpr Index kRowsOfTiles = 16;
  const double step = step_work(layer, features);
  const int workers = workers_for(step * static_cast<double>(layer.timesteps), pool);
  const bool wide = step / static_cast<double>(layer.batch) > kWideWeights;
  const Index groups = layer.batch / kRowsOfTiles;
  if (workers > 1 && !wide && groups >= workers) {
    const auto most = static_cast<int>(std::min<Index>(groups, 2 * workers));
    const double work = step / most;
    return {workers, true, most, std::max<Index>(1, static_cast<Index>(kTaskWork / work))};
  }
  return plan_by_units(layer, step, workers);
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PLAN_H_
