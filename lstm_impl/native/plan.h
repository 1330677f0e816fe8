// How the work of a layer is shared between threads, and where its rows are in memory.
#ifndef LSTM_IMPL_NATIVE_PLAN_H_
#define LSTM_IMPL_NATIVE_PLAN_H_

#include <algorithm>

#include "thread_team.h"
#include "kernels.h"
#include "vector.h"

namespace lstm_impl {

// Rows [time, batch] of some features: row (t, b) is at data + t * time + b * batch, or, where
// first_rows is given, the row first_rows[t] + b of all rows.
template <class Float>
struct Rows {
  Float* data;
  Index time, batch;
  const Index* first_rows = nullptr;

  Float* at(Index t) const {
    return data + (first_rows != nullptr ? first_rows[t] * batch : t * time);
  }
  Float* at(Index t, Index b) const { return at(t) + b * batch; }
};

template <class Float>
Rows<Float> rows_of(const Layer& layer, Float* data, Index features) {
  if (layer.first_rows != nullptr) return {data, 0, features, layer.first_rows};
  if (layer.batch_major) return {data, features, layer.timesteps * features};
  return {data, layer.batch * features, features};
}

// A row's time, and which of that time's rows it is.
struct RowPlace {
  Index time, number;
};

// The place of the row `row` of all rows of a layer, which are counted one time after the other.
inline RowPlace place_of_row(const Layer& layer, Index row) {
  if (layer.first_rows == nullptr) return {row / layer.batch, row % layer.batch};
  const Index* const ends = layer.first_rows + 1;
  const Index t = std::upper_bound(ends, ends + layer.timesteps, row) - ends;
  return {t, row - layer.first_rows[t]};
}

// The numbers of a row of all rows.
template <class Float>
Float* row_at(const Layer& layer, const Rows<Float>& rows, Index row) {
  if (layer.first_rows != nullptr) return rows.data + row * rows.batch;
  return rows.at(row / layer.batch, row % layer.batch);
}

// Whether rows of several times are next to each other, in the order of all rows.
template <class Float>
bool are_adjacent(const Layer& layer, const Rows<Float>& rows) {
  return layer.first_rows != nullptr || rows.time == layer.batch * rows.batch;
}

// Returns the time of the forward pass's step `s`.
inline Index time_of(const Layer& layer, Index s) {
  return layer.reverse ? layer.timesteps - 1 - s : s;
}

inline Index unit_blocks(const Layer& layer) { return blocks_of(layer.units, kLanes); }

// Returns the first of the `count` things that belong to segment `segment` of `segments`.
inline Index share(Index count, int segment, int segments) {
  return static_cast<Index>(segment) * count / segments;
}

// The batch is divided between threads only if each of them gets at least this many sequences. Each
// thread then goes through all steps by itself. With fewer sequences, the weights would be read too
// often for the work that is done with them. The units are divided instead, and the threads
// synchronise after every step.
constexpr Index kRowsPerThread = 12;

// If a step has at least this many multiplications, synchronising the threads pays. They take a few
// microseconds.
constexpr double kStepWork = 2e5;

// If a call has at least this many multiplications, waking a thread pays. They take some tens of
// microseconds.
constexpr double kCallWork = 1e6;

// If the batch is divided, there are more groups of sequences than threads, so that a thread on a
// slower processor does fewer of them. A group is larger if the weights do not fit into a core's
// second cache or leave no room there, so that each reading of the weights serves more sequences.
constexpr Index kRowsOfGroup = 8, kRowsOfWideGroup = 20;
constexpr double kWideWeights = 1 << 18;  // floats

// A thread does this many multiplications of a group before it looks for another group. They take
// some tens of microseconds.
constexpr double kTaskWork = 5e6;

struct Plan {
  int workers;
  bool by_rows;
  int groups = 1;   // of sequences, where it is by rows
  Index steps = 1;  // of a group at once

  // Returns a phase that calls `advance(step, first row, last row)` for all `steps_in_all` steps of
  // every group.
  template <class Advance>
  Phase chains(const Layer& layer, Index steps_in_all, Advance advance) const {
    const auto task = [plan = *this, &layer, steps_in_all, advance](Index number, int group) {
      const Index first = plan.first_sequence(layer, group);
      const Index last = plan.first_sequence(layer, group + 1);
      const Index end = std::min(steps_in_all, (number + 1) * plan.steps);
      for (Index s = number * plan.steps; s < end; ++s) advance(s, first, last);
    };
    return {blocks_of(steps_in_all, steps), groups, task, true};
  }

  // The first sequence of a group, or the batch after the last group. All groups have about as many
  // rows, counted over all times.
  Index first_sequence(const Layer& layer, int group) const {
    if (layer.first_rows == nullptr) return share(layer.batch, group, groups);
    const Index before = share(layer.rows(), group, groups);
    Index sequence = 0, length = layer.timesteps;
    for (Index rows = 0; sequence < layer.batch && rows < before; ++sequence) {
      while (layer.sequences(length - 1) <= sequence) --length;
      rows += length;
    }
    return sequence;
  }

  // Returns into how many segments packing divides `blocks`, and also each step whose units are
  // divided.
  int parts(Index blocks) const {
    return static_cast<int>(std::min<Index>(blocks, workers == 1 ? 1 : 2 * workers));
  }

  // Returns a phase that calls `advance(step, first row, last row, first block, last block)` for
  // all `steps_in_all` steps: for one group of sequences after the other, or for all sequences with
  // the blocks divided.
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

// step: the number of multiplications in a step of the whole batch.
inline Plan plan_by_rows(const Layer& layer, double step, int workers) {
  if (workers == 1) return alone(layer);
  const bool wide = step / static_cast<double>(layer.batch) > kWideWeights;
  const Index most = layer.batch / (wide ? kRowsOfWideGroup : kRowsOfGroup);
  const auto groups = static_cast<int>(std::clamp<Index>(most, workers, 2 * workers));
  const double work = step / groups;
  return {workers, true, groups, std::max<Index>(1, static_cast<Index>(kTaskWork / work))};
}

// Returns the number of multiplications in a step whose products have this many `features`.
inline double step_work(const Layer& layer, Index features) {
  return static_cast<double>(layer.gates() * layer.batch) * static_cast<double>(layer.units) *
         static_cast<double>(features);
}

// Returns how long a call takes, in multiplications. Reading a weight, or writing its gradient,
// takes as long as four multiplications.
inline double call_work(const Layer& layer, Index features) {
  const double weights = static_cast<double>(layer.gates() * layer.units) * static_cast<double>(features);
  return weights * static_cast<double>(layer.rows() + 4);
}

inline Plan plan_by_units(const Layer& layer, double step, int workers) {
  const Index most = step < kStepWork ? 1 : std::min<Index>(workers, unit_blocks(layer));
  return most == 1 ? alone(layer) : Plan{static_cast<int>(most), false};
}

// Returns the plan for the part of a call that goes step by step. `features` are those of the
// products in a step.
inline Plan recurrence_plan(const Layer& layer, Index features, const Pool& pool) {
  const double step = step_work(layer, features);
  // A step of one sequence takes about as long as a step of four sequences, because it waits for
  // the weights.
  const double fewest = 4 / static_cast<double>(std::clamp<Index>(layer.batch, 1, 4));
  const int workers = workers_for(step * fewest * static_cast<double>(layer.timesteps), pool);
  if (layer.batch >= kRowsPerThread * 2) {
    const auto most = static_cast<int>(std::min<Index>(workers, layer.batch / kRowsPerThread));
    // If dividing the units keeps more threads busy, the units are divided.
    if (most == workers || step < kStepWork * workers) return plan_by_rows(layer, step, most);
  }
  return plan_by_units(layer, step, workers);
}

// Returns the plan for products by tiles of 16 rows. The batch is divided between threads if each
// of them gets 16 rows and the weights leave room in its second cache. Waiting for the other
// threads after every step, and reading what they have computed, takes longer than reading all
// weights from this cache. If the weights do not fit, each thread reads only its share of them.
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
