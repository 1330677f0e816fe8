// Calls liblstm from custom calls of XLA, for JAX: types, shapes, checks, and XLA's own threads.
// Arrays are time-major. `padding` is bool [time, batch], false where a step is left out, or uint8
// with the bits of LstmStep, or empty.
#include <algorithm>
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

// Calls the library with XLA's own threads, one for each processor, including this one. With one
// more thread, a layer took a quarter longer on two processors.
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

std::string name_of(ffi::DataType type) {
  if (type == ffi::F32) return "float32";
  if (type == ffi::BF16) return "bfloat16";
  if (type == ffi::PRED) return "bool";
  if (type == ffi::U8) return "uint8";
  return "the type number " + std::to_string(static_cast<int>(type)) + " of XLA";
}

template <class Sizes>
std::string described(ffi::DataType type, const Sizes& sizes) {
  std::string words = name_of(type) + " [";
  const char* separator = "";
  for (const std::int64_t size : sizes) {
    words += separator + std::to_string(size);
    separator = ", ";
  }
  return words + "]";
}

using Shape = std::initializer_list<std::int64_t>;

// Compares buffers with what a layer needs, and keeps the first difference. The check is necessary
// because a program may call a target directly with any arrays, and the kernels trust the sizes
// that they are given. Shapes are compared axis by axis, because a number of elements may overflow.
class Checks {
 public:
  // Takes the sizes of the layer from x (or its gradient) and from the columns of a kernel. The
  // type of the layer follows from the types of these two arrays: weights in float32 may have x of
  // any type. keeps: whether anything is kept, which vmap may cut into parts of a batch or join from them.
  Checks(LstmCell cell, const Buffer& x, const Buffer& kernel, bool reverse, bool keeps)
      : gates_(cell == LSTM_LSTM ? 4 : 3),
        type_(x.element_type()),
        weights_(kernel.element_type() == ffi::F32 ? ffi::F32 : x.element_type()) {
    const auto shape = x.dimensions(), weights = kernel.dimensions();
    if (shape.size() != 3) {
      problem_ = "x is " + described(type_, shape) + "; expected three axes";
    } else if (type_ != ffi::F32 && type_ != ffi::BF16) {
      problem_ = "x is " + described(type_, shape) + "; expected float32 or bfloat16";
    } else if (weights.size() != 2 || weights[1] % gates_ != 0) {
      problem_ = "a kernel is " + described(kernel.element_type(), weights) +
                 "; expected two axes, the second one of " + std::to_string(gates_) + " * units";
    } else {
      LstmType type = LSTM_FLOAT;
      if (type_ == ffi::BF16) type = weights_ == ffi::F32 ? LSTM_MIXED_BFLOAT16 : LSTM_BFLOAT16;
      layer_ = {shape[0], shape[1], shape[2], weights[1] / gates_, false, reverse, type, 0, 0, cell, 0, keeps};
      if (lstm_check(&layer_) != LSTM_OK) problem_ = lstm_error();
    }
  }

  const LstmLayer& layer() const { return layer_; }
  std::int64_t width() const { return gates_ * layer_.units; }
  const std::string& problem() const { return problem_; }

  // Expects an array that has the type of x, or another type.
  void expect(const char* name, const Buffer& buffer, Shape shape) {
    expect(name, buffer, shape, type_);
  }

  void expect(const char* name, const Buffer& buffer, Shape shape, ffi::DataType type) {
    if (!problem_.empty()) return;
    const auto found = buffer.dimensions();
    if (buffer.element_type() == type && std::equal(found.begin(), found.end(), shape.begin(), shape.end())) {
      return;
    }
    problem_ = std::string(name) + " is " + described(buffer.element_type(), found) +
               "; expected " + described(type, shape);
  }

  // Expects a weight or its gradient. All weights of a layer have the same type.
  void expect_weight(const char* name, const Buffer& buffer, Shape shape) {
    expect(name, buffer, shape, weights_);
  }

  // Expects a bias for the product with the recurrent kernel, or its gradient. If the cell has no
  // such bias, the array must be empty.
  void expect_recurrent_bias(const char* name, const Buffer& buffer) {
    expect_weight(name, buffer, {layer_.cell == LSTM_GRU ? width() : 0});
  }

  void expect_state(const char* name, const Buffer& buffer) {
    expect(name, buffer, {layer_.batch, layer_.units});
  }

  void expect_sequence(const char* name, const Buffer& buffer) {
    expect(name, buffer, {layer_.timesteps, layer_.batch, layer_.units});
  }

  // Expects what a forward pass keeps, in blocks of units: `arrays` arrays side by side.
  void expect_kept(const char* name, const Buffer& buffer, std::int64_t arrays,
                   ffi::DataType type) {
    const std::int64_t lanes = lstm_lanes(), blocks = (layer_.units + lanes - 1) / lanes;
    expect(name, buffer, {blocks, layer_.timesteps, layer_.batch, arrays * lanes}, type);
  }

  void expect_gates(const char* name, const Buffer& buffer, ffi::DataType type) {
    expect_kept(name, buffer, 4, type);
  }

  // Returns the mask. Returns null if padding is bool [0, 0], which means that all steps are there,
  // and if there are no steps at all.
  void* mask(const Buffer& padding) {
    const auto found = padding.dimensions();
    if (padding.element_type() == ffi::PRED && found.size() == 2 && found[0] == 0 && found[1] == 0) {
      return nullptr;
    }
    const bool has_bits = padding.element_type() == ffi::U8;
    expect("padding", padding, {layer_.timesteps, layer_.batch}, has_bits ? ffi::U8 : ffi::PRED);
    return layer_.timesteps == 0 || layer_.batch == 0 ? nullptr : padding.untyped_data();
  }

  // Expects an empty array. An array that nothing writes would show earlier contents of the memory.
  void expect_empty(const char* name, const Buffer& buffer) {
    if (!problem_.empty()) return;
    const auto found = buffer.dimensions();
    if (std::find(found.begin(), found.end(), 0) != found.end()) return;
    problem_ = std::string(name) + " is " + described(buffer.element_type(), found) +
               "; expected an empty array, because this call keeps nothing there";
  }

  ffi::DataType type() const { return type_; }

 private:
  const std::int64_t gates_;  // of the cell: columns of a kernel for each unit
  ffi::DataType type_, weights_;
  LstmLayer layer_{};
  std::string problem_;
};

// The arrays of a call. If a cell does not have an array, its pointer is null: an LSTM has no
// recurrent bias, and a GRU has no c and no cells.
struct ForwardArrays {
  const Buffer &x, &h;
  const Buffer* c;
  const Buffer &kernel, &recurrent, &bias;
  const Buffer* recurrent_bias;
  const Buffer& padding;
  Buffer &y, &h_last;
  Buffer *c_last, &gates, *cells, &hidden;
};

void* data_of(const Buffer* buffer) { return buffer == nullptr ? nullptr : buffer->untyped_data(); }

ffi::Error forward_layer(const char* name, LstmCell cell, ffi::ThreadPool& threads, bool reverse,
                         bool keep, const ForwardArrays& of) {
  Checks checks(cell, of.x, of.recurrent, reverse, keep);
  const LstmLayer& layer = checks.layer();
  checks.expect_state("h", of.h);
  if (of.c != nullptr) checks.expect_state("c", *of.c);
  checks.expect_weight("kernel", of.kernel, {layer.inputs, checks.width()});
  checks.expect_weight("recurrent_kernel", of.recurrent, {layer.units, checks.width()});
  checks.expect_weight("bias", of.bias, {checks.width()});
  if (of.recurrent_bias != nullptr) checks.expect_recurrent_bias("recurrent_bias", *of.recurrent_bias);
  void* const mask = checks.mask(of.padding);
  checks.expect_sequence("y", of.y);
  checks.expect_state("h_last", of.h_last);
  if (of.c_last != nullptr) checks.expect_state("c_last", *of.c_last);
  if (keep) {
    checks.expect_gates("gates", of.gates, checks.type());
    if (of.cells != nullptr) checks.expect_kept("cells", *of.cells, 1, checks.type());
  } else {
    checks.expect_empty("gates", of.gates);
    if (of.cells != nullptr) checks.expect_empty("cells", *of.cells);
  }
  const bool keep_hidden = keep && mask != nullptr;
  if (keep_hidden) {
    checks.expect_sequence("hidden", of.hidden);
  } else {
    checks.expect_empty("hidden", of.hidden);
  }
  if (!checks.problem().empty()) return invalid(std::string(name) + ": " + checks.problem());
  void* const pointers[] = {of.kernel.untyped_data(),
                            of.recurrent.untyped_data(),
                            of.bias.untyped_data(),
                            of.x.untyped_data(),
                            of.h.untyped_data(),
                            data_of(of.c),
                            mask,
                            of.y.untyped_data(),
                            of.h_last.untyped_data(),
                            data_of(of.c_last),
                            keep ? of.gates.untyped_data() : nullptr,
                            keep ? data_of(of.cells) : nullptr,
                            keep_hidden ? of.hidden.untyped_data() : nullptr,
                            data_of(of.recurrent_bias)};
  return call(lstm_forward, threads, layer, pointers);
}

// Returns which GRU computes in this form. reset_after: whether the reset gate acts after the
// product with the recurrent kernel.
LstmCell gru(bool reset_after) { return reset_after ? LSTM_GRU : LSTM_GRU_RESET_BEFORE; }

ffi::Error forward_call(ffi::ThreadPool threads, bool reverse, bool keep, Buffer x, Buffer h,
                        Buffer c, Buffer kernel, Buffer recurrent, Buffer bias, Buffer padding,
                        Result y, Result h_last, Result c_last, Result gates, Result cells,
                        Result hidden) {
  return forward_layer("lstm_impl_forward", LSTM_LSTM, threads, reverse, keep,
                       {x, h, &c, kernel, recurrent, bias, nullptr, padding, *y, *h_last, &*c_last,
                        *gates, &*cells, *hidden});
}

ffi::Error gru_forward_call(ffi::ThreadPool threads, bool reverse, bool keep, bool reset_after,
                            Buffer x, Buffer h, Buffer kernel, Buffer recurrent, Buffer bias,
                            Buffer recurrent_bias, Buffer padding, Result y, Result h_last,
                            Result gates, Result hidden) {
  return forward_layer("lstm_impl_gru_forward", gru(reset_after), threads, reverse, keep,
                       {x, h, nullptr, kernel, recurrent, bias, &recurrent_bias, padding, *y,
                        *h_last, nullptr, *gates, nullptr, *hidden});
}

struct BackwardArrays {
  const Buffer &x, &h;
  const Buffer* c;
  const Buffer &recurrent, &padding, &hidden, &gates;
  const Buffer* cells;
  const Buffer &dy, &dh_last;
  const Buffer* dc_last;
  Buffer &dz, &dh;
  Buffer *dc, &dkernel, &drecurrent, &dbias, *drecurrent_bias;
};

ffi::Error backward_layer(const char* name, LstmCell cell, ffi::ThreadPool& threads, bool reverse,
                          const BackwardArrays& of) {
  Checks checks(cell, of.x, of.recurrent, reverse, true);
  const LstmLayer& layer = checks.layer();
  checks.expect_state("h", of.h);
  if (of.c != nullptr) checks.expect_state("c", *of.c);
  checks.expect_weight("recurrent_kernel", of.recurrent, {layer.units, checks.width()});
  void* const mask = checks.mask(of.padding);
  checks.expect_sequence("hidden", of.hidden);
  checks.expect_gates("gates", of.gates, checks.type());
  if (of.cells != nullptr) checks.expect_kept("cells", *of.cells, 1, checks.type());
  checks.expect_sequence("dy", of.dy);
  checks.expect_state("dh_last", of.dh_last);
  if (of.dc_last != nullptr) checks.expect_state("dc_last", *of.dc_last);
  checks.expect_gates("dz", of.dz, ffi::F32);
  checks.expect_state("dh", of.dh);
  if (of.dc != nullptr) checks.expect_state("dc", *of.dc);
  checks.expect_weight("dkernel", of.dkernel, {layer.inputs, checks.width()});
  checks.expect_weight("drecurrent_kernel", of.drecurrent, {layer.units, checks.width()});
  checks.expect_weight("dbias", of.dbias, {checks.width()});
  if (of.drecurrent_bias != nullptr) {
    checks.expect_recurrent_bias("drecurrent_bias", *of.drecurrent_bias);
  }
  if (!checks.problem().empty()) return invalid(std::string(name) + ": " + checks.problem());
  void* const pointers[] = {of.recurrent.untyped_data(),
                            of.x.untyped_data(),
                            of.h.untyped_data(),
                            data_of(of.c),
                            mask,
                            of.hidden.untyped_data(),
                            of.gates.untyped_data(),
                            data_of(of.cells),
                            of.dy.untyped_data(),
                            of.dh_last.untyped_data(),
                            data_of(of.dc_last),
                            of.dz.untyped_data(),
                            of.dh.untyped_data(),
                            data_of(of.dc),
                            of.dkernel.untyped_data(),
                            of.drecurrent.untyped_data(),
                            of.dbias.untyped_data(),
                            data_of(of.drecurrent_bias)};
  return call(lstm_backward, threads, layer, pointers);
}

ffi::Error backward_call(ffi::ThreadPool threads, bool reverse, Buffer x, Buffer h, Buffer c,
                         Buffer recurrent, Buffer padding, Buffer hidden, Buffer gates,
                         Buffer cells, Buffer dy, Buffer dh_last, Buffer dc_last, Result dz,
                         Result dh, Result dc, Result dkernel, Result drecurrent, Result dbias) {
  return backward_layer("lstm_impl_backward", LSTM_LSTM, threads, reverse,
                        {x, h, &c, recurrent, padding, hidden, gates, &cells, dy, dh_last, &dc_last,
                         *dz, *dh, &*dc, *dkernel, *drecurrent, *dbias, nullptr});
}

ffi::Error gru_backward_call(ffi::ThreadPool threads, bool reverse, bool reset_after, Buffer x,
                             Buffer h, Buffer recurrent, Buffer padding, Buffer hidden, Buffer gates,
                             Buffer dy, Buffer dh_last, Result dz, Result dh, Result dkernel,
                             Result drecurrent, Result dbias, Result drecurrent_bias) {
  return backward_layer("lstm_impl_gru_backward", gru(reset_after), threads, reverse,
                        {x, h, nullptr, recurrent, padding, hidden, gates, nullptr, dy, dh_last,
                         nullptr, *dz, *dh, nullptr, *dkernel, *drecurrent, *dbias,
                         &*drecurrent_bias});
}

ffi::Error input_gradient_layer(const char* name, LstmCell cell, ffi::ThreadPool& threads,
                                const Buffer& kernel, const Buffer& padding, const Buffer& dz,
                                Buffer& dx) {
  Checks checks(cell, dx, kernel, false, true);
  const LstmLayer& layer = checks.layer();
  checks.expect_weight("kernel", kernel, {layer.inputs, checks.width()});
  void* const mask = checks.mask(padding);
  checks.expect_gates("dz", dz, ffi::F32);
  if (!checks.problem().empty()) return invalid(std::string(name) + ": " + checks.problem());
  void* const pointers[] = {kernel.untyped_data(), dz.untyped_data(), mask, dx.untyped_data()};
  return call(lstm_input_gradient, threads, layer, pointers);
}

ffi::Error input_gradient_call(ffi::ThreadPool threads, Buffer kernel, Buffer padding, Buffer dz,
                               Result dx) {
  return input_gradient_layer("lstm_impl_input_gradient", LSTM_LSTM, threads, kernel, padding, dz,
                              *dx);
}

ffi::Error gru_input_gradient_call(ffi::ThreadPool threads, bool reset_after, Buffer kernel,
                                   Buffer padding, Buffer dz, Result dx) {
  return input_gradient_layer("lstm_impl_gru_input_gradient", gru(reset_after), threads, kernel,
                              padding, dz, *dx);
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
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>() ARG ARG ARG RET);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_impl_gru_forward, lstm_impl::gru_forward_call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Attr<bool>("reverse")
                                  .Attr<bool>("keep")
                                  .Attr<bool>("reset_after") ARG ARG ARG ARG ARG ARG ARG RET RET
                                      RET RET);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_impl_gru_backward, lstm_impl::gru_backward_call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Attr<bool>("reverse")
                                  .Attr<bool>("reset_after") ARG ARG ARG ARG ARG ARG ARG ARG RET
                                      RET RET RET RET RET);

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_impl_gru_input_gradient, lstm_impl::gru_input_gradient_call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Attr<bool>("reset_after") ARG ARG ARG RET);

#pragma GCC visibility pop
