// The kernels as custom calls of XLA, for JAX: types, shapes, checks, and XLA's own threads. Arrays
// are time-major; `padding` is bool [time, batch], false where a step is left out, or empty.
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace lstm_impl {
namespace {

namespace ffi = xla::ffi;
using Buffer = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

ffi::Error invalid(std::string words) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, std::move(words));
}

Pool pool_of(ffi::ThreadPool& threads) {
  return {[&threads](std::function<void()> work) { threads.Schedule(std::move(work)); },
          static_cast<int>(threads.num_threads()) + 1};
}

// Why a buffer has another shape or type than expected, or an empty string.
std::string misfit(const char* name, const Buffer& buffer, ffi::DataType type,
                   std::initializer_list<std::int64_t> expected) {
  const auto found = buffer.dimensions();
  bool same = buffer.element_type() == type && found.size() == expected.size();
  std::size_t axis = 0;
  for (const std::int64_t size : expected) same = same && found[axis++] == size;
  return same ? "" : std::string(name) + " has another shape or type than its layer's";
}

template <class Value>
const Value* data(const Buffer& buffer) {
  return static_cast<const Value*>(buffer.untyped_data());
}

template <class Value>
Value* data(Result& buffer) {
  return static_cast<Value*>(buffer->untyped_data());
}

// Sizes of a layer from x or its gradient and the recurrent kernel.
std::string layer_of(const Buffer& x, std::int64_t units, bool reverse, Layer* layer) {
  const auto shape = x.dimensions();
  if (shape.size() != 3) return "x has not three axes";
  *layer = {shape[0], shape[1], shape[2], units, false, reverse};
  return layer->problem();
}

std::int64_t units_of(const Buffer& kernel) {
  const auto shape = kernel.dimensions();
  return shape.size() == 2 ? shape[1] / 4 : 0;
}

const unsigned char* mask_of(const Buffer& padding) {
  return padding.element_count() == 0 ? nullptr : data<unsigned char>(padding);
}

// Runs `work` with a null pointer of the type that x has.
template <class Work>
ffi::Error dispatched(const Buffer& x, const Work& work) {
  try {
    if (x.element_type() == ffi::F32) return work(static_cast<float*>(nullptr));
    if (x.element_type() == ffi::BF16) return work(static_cast<BFloat16*>(nullptr));
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "there is no memory for the scratch of a fused LSTM call");
  }
  return invalid("x is neither float32 nor bfloat16");
}

ffi::Error forward_call(ffi::ThreadPool threads, bool reverse, bool keep, Buffer x, Buffer h,
                        Buffer c, Buffer kernel, Buffer recurrent, Buffer bias, Buffer padding,
                        Result y, Result h_last, Result c_last, Result gates, Result cells,
                        Result hidden) {
  Layer layer;
  const std::int64_t units = units_of(recurrent), width = 4 * units;
  std::string problem = layer_of(x, units, reverse, &layer);
  const auto check = [&](const char* name, const Buffer& buffer, ffi::DataType type,
                         std::initializer_list<std::int64_t> expected) {
    if (problem.empty()) problem = misfit(name, buffer, type, expected);
  };
  const ffi::DataType type = x.element_type();
  check("h", h, type, {layer.batch, units});
  check("c", c, type, {layer.batch, units});
  check("kernel", kernel, type, {layer.inputs, width});
  check("recurrent_kernel", recurrent, type, {units, width});
  check("bias", bias, type, {width});
  if (padding.element_count() > 0) {
    check("padding", padding, ffi::PRED, {layer.timesteps, layer.batch});
  }
  check("y", *y, type, {layer.timesteps, layer.batch, units});
  if (!problem.empty()) return invalid(problem);
  const auto size = [](const Buffer& each) {
    return static_cast<std::int64_t>(each.element_count());
  };
  if (keep && (size(*gates) != layer.gates_size() || size(*cells) != layer.cells_size())) {
    return invalid("there is another number of gates or cells than this layer keeps");
  }
  return dispatched(x, [&](auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    const unsigned char* mask = mask_of(padding);
    Forward<Value> call{layer,
                        {data<Value>(kernel), data<Value>(recurrent), data<Value>(bias)},
                        data<Value>(x),
                        data<Value>(h),
                        data<Value>(c),
                        mask,
                        data<Value>(y),
                        data<Value>(h_last),
                        data<Value>(c_last),
                        keep ? data<Value>(gates) : nullptr,
                        keep ? data<Value>(cells) : nullptr,
                        keep && mask != nullptr ? data<Value>(hidden) : nullptr};
    forward(call, pool_of(threads));
    return ffi::Error::Success();
  });
}

ffi::Error backward_call(ffi::ThreadPool threads, bool reverse, Buffer x, Buffer h, Buffer c,
                         Buffer recurrent, Buffer padding, Buffer hidden, Buffer gates,
                         Buffer cells, Buffer dy, Buffer dh_last, Buffer dc_last, Result dz,
                         Result dh, Result dc, Result dkernel, Result drecurrent, Result dbias) {
  Layer layer;
  const std::int64_t units = units_of(recurrent);
  if (std::string problem = layer_of(x, units, reverse, &layer); !problem.empty()) {
    return invalid(problem);
  }
  const auto size = [](const Buffer& each) {
    return static_cast<std::int64_t>(each.element_count());
  };
  const std::int64_t state = layer.batch * units, sequence = layer.timesteps * state;
  if (size(gates) != layer.gates_size() || size(cells) != layer.cells_size() ||
      size(*dz) != layer.gates_size() || size(hidden) != sequence || size(dy) != sequence ||
      size(dh_last) != state || size(dc_last) != state || size(h) != state || size(c) != state) {
    return invalid("what this layer kept, or what flows into it, has another size");
  }
  return dispatched(x, [&](auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    Backward<Value> call{layer,
                         data<Value>(recurrent),
                         data<Value>(x),
                         data<Value>(h),
                         data<Value>(c),
                         mask_of(padding),
                         data<Value>(hidden),
                         data<Value>(gates),
                         data<Value>(cells),
                         data<Value>(dy),
                         data<Value>(dh_last),
                         data<Value>(dc_last),
                         data<float>(dz),
                         data<Value>(dh),
                         data<Value>(dc),
                         data<Value>(dkernel),
                         data<Value>(drecurrent),
                         data<Value>(dbias)};
    backward(call, pool_of(threads));
    return ffi::Error::Success();
  });
}

ffi::Error input_gradient_call(ffi::ThreadPool threads, Buffer kernel, Buffer dz, Result dx) {
  Layer layer;
  if (std::string problem = layer_of(*dx, units_of(kernel), false, &layer); !problem.empty()) {
    return invalid(problem);
  }
  if (static_cast<std::int64_t>(dz.element_count()) != layer.gates_size()) {
    return invalid("dz is not this layer's");
  }
  return dispatched(kernel, [&](auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    input_gradient(InputGradient<Value>{layer, data<Value>(kernel), data<float>(dz),
                                        data<Value>(dx)},
                   pool_of(threads));
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace lstm_impl

#pragma GCC visibility push(default)

// Floats in a register: gates are kept as [blocks, time, batch, 4 * lanes], cells with `lanes`.
extern "C" std::int64_t lstm_impl_lanes() {
  return lstm_impl::Layer{1, 1, 1, 1, false, false}.cells_size();
}

#define ARG .Arg<xla::ffi::AnyBuffer>()
#define RET .Ret<xla::ffi::AnyBuffer>()

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_impl_forward, lstm_impl::forward_call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Attr<bool>("reverse")
                                  .Attr<bool>("keep") ARG ARG ARG ARG ARG ARG ARG RET RET RET RET
                                      RET RET);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_impl_backward, lstm_impl::backward_call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Attr<bool>("reverse") ARG ARG ARG ARG ARG ARG ARG ARG ARG ARG
                                      ARG RET RET RET RET RET RET);

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    lstm_impl_input_gradient, lstm_impl::input_gradient_call,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>() ARG ARG RET);

#pragma GCC visibility pop
