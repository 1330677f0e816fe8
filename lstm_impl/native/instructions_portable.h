// Registers for CPUs that this project has no header for. The compiler translates them to the
// instructions that the CPU has.
//
// LSTM_IMPL_LANES sets another width, which the tests use.
#ifndef LSTM_IMPL_NATIVE_INSTRUCTIONS_PORTABLE_H_
#define LSTM_IMPL_NATIVE_INSTRUCTIONS_PORTABLE_H_

#include <cstdint>

#if !defined(LSTM_IMPL_LANES)
#define LSTM_IMPL_LANES 4
#endif

namespace lstm_impl {

constexpr std::int64_t kVectorLanes = LSTM_IMPL_LANES;
constexpr int kRows = kVectorLanes > 4 ? 2 : 6;

}  // namespace lstm_impl

#include "portable_instructions.h"

namespace lstm_impl {

struct Instructions : PortableInstructions {};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INSTRUCTIONS_PORTABLE_H_
