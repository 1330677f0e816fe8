// Matrices in the order in which products read them: panels of a few registers' width, padded with
// zeros to whole registers.
#ifndef LSTM_IMPL_NATIVE_PANELS_H_
#define LSTM_IMPL_NATIVE_PANELS_H_

#include <algorithm>

#include "vector.h"

namespace lstm_impl {

// Rows [first_row, last_row) of a kernel [rows, 4 * units] into panels [block][row][gate][lane], of
// blocks [first, last).
inline void pack_gates(const float* kernel, Index rows, Index units, Index first_block,
                       Index last_block, float* panels) {
  for (Index k = 0; k < rows; ++k) {
    for (Index block = first_block; block < last_block; ++block) {
      float* to = panels + (block * rows + k) * kPanel;
      const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
      for (Index gate = 0; gate < kGates; ++gate) {
        store(to + gate * kLanes, load_part(kernel + (k * kGates + gate) * units + unit, count));
      }
    }
  }
}

// The transpose of `width` blocks of rows of a kernel [rows, 4 * units], from the row `first_row`,
// into one panel [block of units][gate][lane][width][lane of the row]: the right operand of dz
// times the kernel's transpose, dz lying as gates do.
inline void pack_transposed(const float* kernel, Index rows, Index units, Index first_row,
                            Index width, float* panel) {
  for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
    const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
    for (Index gate = 0; gate < kGates; ++gate) {
      float* to = panel + (block * kGates + gate) * kLanes * width * kLanes;
      for (Index v = 0; v < width; ++v) {
        const Index row = first_row + v * kLanes;
        const Index here = std::max<Index>(0, std::min(kLanes, rows - row));
        const float* from = kernel + (row * kGates + gate) * units + unit;
        for (Index lane = 0; lane < kLanes; ++lane) {
          float* line = to + (lane * width + v) * kLanes;
          for (Index r = 0; r < kLanes; ++r) {
            const bool inside = lane < count && r < here;
            line[r] = inside ? from[r * kGates * units + lane] : 0.0f;
          }
        }
      }
    }
  }
}

// A state [batch, units] to or from [block][batch][lane].
inline void pack_state(const float* state, Index batch, Index units, float* packed) {
  for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
    const Index unit = block * kLanes;
    for (Index b = 0; b < batch; ++b) {
      store(packed + (block * batch + b) * kLanes,
            load_part(state + b * units + unit, units - unit));
    }
  }
}

// stride: floats from one block to the next.
inline void unpack_state(const float* packed, Index stride, Index batch, Index units,
                         float* state) {
  for (Index block = 0; block < blocks_of(units, kLanes); ++block) {
    const Index unit = block * kLanes;
    for (Index b = 0; b < batch; ++b) {
      store_part(state + b * units + unit, load(packed + block * stride + b * kLanes),
                 units - unit);
    }
  }
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PANELS_H_
