// liblstm as custom calls of XLA, for JAX: types, shapes, checks, and XLA's own threads. Arrays
// are time-major; `padding` is bool [time, batch], false where a step is left out, or empty.
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "c_api.h"
#include "xla/ffi/api/ffi.h"

namespace lstm_impl {
namespace {

namespace ffi = xla::ffi;
using Buffer = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

ffi::Error invalid(std::string words) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, std::move(words));
}

using Call = LstmCode (*)(const LstmLayer*, const LstmThreads*, void* const*);

// Calls the library with XLA's own threads: as many with this one as it has, which is one for each
// processor. One more made a layer take a quarter longer on two processors.
ffi::Error call(Call function, ffi::ThreadPool& pool, const LstmLayer& layer,
                void* const* pointers) {
  const LstmThreads threads{[](void* of, void (*work)(void*), void* argument) {
                              static_cast<ffi::ThreadPool*>(of)->Schedule(
                                  [work, argument] { work(argument); });
                            },
                            &pool, static_cast<std::int32_t>(pool.num_threads())};
  const LstmCode code = function(&layer, &threads, pointers);
  if (code == LSTM_OK) return ffi::Error::Success();
  if (code == LSTM_INVALID) return invalid(lstm_error());
  return ffi::Error(code == LSTM_NO_MEMORY ? ffi::ErrorCode::kResourceExhausted
                                           : ffi::ErrorCode::kInternal,
                    lstm_error());
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

// Sizes of a layer from x or its gradient and the recurrent kernel.
std::string layer_of(const Buffer& x, std::int64_t units, bool reverse, LstmLayer* layer) {
  const auto shape = x.dimensions();
  if (shape.size() != 3) return "x has not three axes";
  const bool bfloat16 = x.element_type() == ffi::BF16;
  if (!bfloat16 && x.element_type() != ffi::F32) return "x is neither float32 nor bfloat16";
  *layer = {shape[0], shape[1], shape[2], units, false, reverse, bfloat16, 0};
  return lstm_check(layer) == LSTM_OK ? "" : lstm_error();
}

std::int64_t units_of(const Buffer& kernel) {
  const auto shape = kernel.dimensions();
  return shape.size() == 2 ? shape[1] / 4 : 0;
}

void* mask_of(const Buffer& padding) {
  return padding.element_count() == 0 ? nullptr : padding.untyped_data();
}

ffi::Error forward_call(ffi::ThreadPool threads, bool reverse, bool keep, Buffer x, Buffer h,
                        Buffer c, Buffer kernel, Buffer recurrent, Buffer bias, Buffer padding,
                        Result y, Result h_last, Result c_last, Result gates, Result cells,
                        Result hidden) {
  LstmLayer layer;
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
  if (keep && (size(*gates) != lstm_gates_size(&layer) || size(*cells) != lstm_cells_size(&layer))) {
    return invalid("there is another number of gates or cells than this layer keeps");
  }
  void* const mask = mask_of(padding);
  void* const pointers[] = {kernel.untyped_data(),
                            recurrent.untyped_data(),
                            bias.untyped_data(),
                            x.untyped_data(),
                            h.untyped_data(),
                            c.untyped_data(),
                            mask,
                            y->untyped_data(),
                            h_last->untyped_data(),
                            c_last->untyped_data(),
                            keep ? gates->untyped_data() : nullptr,
                            keep ? cells->untyped_data() : nullptr,
                            keep && mask != nullptr ? hidden->untyped_data() : nullptr};
  return call(lstm_forward, threads, layer, pointers);
}

ffi::Error backward_call(ffi::ThreadPool threads, bool reverse, Buffer x, Buffer h, Buffer c,
                         Buffer recurrent, Buffer padding, Buffer hidden, Buffer gates,
                         Buffer cells, Buffer dy, Buffer dh_last, Buffer dc_last, Result dz,
                         Result dh, Result dc, Result dkernel, Result drecurrent, Result dbias) {
  LstmLayer layer;
  const std::int64_t units = units_of(recurrent);
  if (std::string problem = layer_of(x, units, reverse, &layer); !problem.empty()) {
    return invalid(problem);
  }
  const auto size = [](const Buffer& each) {
    return static_cast<std::int64_t>(each.element_count());
  };
  const std::int64_t state = layer.batch * units, sequence = layer.timesteps * state;
  if (size(gates) != lstm_gates_size(&layer) || size(cells) != lstm_cells_size(&layer) ||
      size(*dz) != lstm_gates_size(&layer) || size(hidden) != sequence || size(dy) != sequence ||
      size(dh_last) != state || size(dc_last) != state || size(h) != state || size(c) != state) {
    return invalid("what this layer kept, or what flows into it, has another size");
  }
  void* const pointers[] = {
      recurrent.untyped_data(), x.untyped_data(),        h.untyped_data(),
      c.untyped_data(),         mask_of(padding),        hidden.untyped_data(),
      gates.untyped_data(),     cells.untyped_data(),    dy.untyped_data(),
      dh_last.untyped_data(),   dc_last.untyped_data(),  dz->untyped_data(),
      dh->untyped_data(),       dc->untyped_data(),      dkernel->untyped_data(),
      drecurrent->untyped_data(), dbias->untyped_data()};
  return call(lstm_backward, threads, layer, pointers);
}

ffi::Error input_gradient_call(ffi::ThreadPool threads, Buffer kernel, Buffer dz, Result dx) {
  LstmLayer layer;
  if (std::string problem = layer_of(*dx, units_of(kernel), false, &layer); !problem.empty()) {
    return invalid(problem);
  }
  if (static_cast<std::int64_t>(dz.element_count()) != lstm_gates_size(&layer)) {
    return invalid("dz is not this layer's");
  }
  void* const pointers[] = {kernel.untyped_data(), dz.untyped_data(), dx->untyped_data()};
  return call(lstm_input_gradient, threads, layer, pointers);
}

}  // namespace
}  // namespace lstm_impl

#pragma GCC visibility push(default)

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
