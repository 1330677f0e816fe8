// liblstm as custom calls of XLA, for JAX: types, shapes, checks, and XLA's own threads. Arrays
// are time-major; `padding` is bool [time, batch], false where a step is left out, or empty.
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

std::string name_of(ffi::DataType type) {
  if (type == ffi::F32) return "float32";
  if (type == ffi::BF16) return "bfloat16";
  if (type == ffi::PRED) return "bool";
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

// Compares buffers with what a layer needs and keeps the first difference. A program may call a
// target directly, with any arrays, and the kernels trust the sizes that they are told. Shapes are
// compared axis by axis, because a number of elements may overflow.
class Checks {
 public:
  // The sizes of the layer, from x or its gradient and the columns of a kernel. Its type, from the
  // types of the two: weights of float32 may have any x.
  Checks(const Buffer& x, const Buffer& kernel, bool reverse)
      : type_(x.element_type()),
        weights_(kernel.element_type() == ffi::F32 ? ffi::F32 : x.element_type()) {
    const auto shape = x.dimensions(), weights = kernel.dimensions();
    if (shape.size() != 3) {
      problem_ = "x is " + described(type_, shape) + "; expected three axes";
    } else if (type_ != ffi::F32 && type_ != ffi::BF16) {
      problem_ = "x is " + described(type_, shape) + "; expected float32 or bfloat16";
    } else if (weights.size() != 2 || weights[1] % 4 != 0) {
      problem_ = "a kernel is " + described(kernel.element_type(), weights) +
                 "; expected two axes, the second one of 4 * units";
    } else {
      LstmType type = LSTM_FLOAT;
      if (type_ == ffi::BF16) type = weights_ == ffi::F32 ? LSTM_MIXED_BFLOAT16 : LSTM_BFLOAT16;
      layer_ = {shape[0], shape[1], shape[2], weights[1] / 4, false, reverse, type, 0};
      if (lstm_check(&layer_) != LSTM_OK) problem_ = lstm_error();
    }
  }

  const LstmLayer& layer() const { return layer_; }
  const std::string& problem() const { return problem_; }

  // An array of the type of x, or of another type.
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

  // A weight or its gradient: all weights of a layer have one type.
  void expect_weight(const char* name, const Buffer& buffer, Shape shape) {
    expect(name, buffer, shape, weights_);
  }

  void expect_state(const char* name, const Buffer& buffer) {
    expect(name, buffer, {layer_.batch, layer_.units});
  }

  void expect_sequence(const char* name, const Buffer& buffer) {
    expect(name, buffer, {layer_.timesteps, layer_.batch, layer_.units});
  }

  // What a forward pass keeps, in blocks of units: `arrays` of them side by side.
  void expect_kept(const char* name, const Buffer& buffer, std::int64_t arrays,
                   ffi::DataType type) {
    const std::int64_t lanes = lstm_lanes(), blocks = (layer_.units + lanes - 1) / lanes;
    expect(name, buffer, {blocks, layer_.timesteps, layer_.batch, arrays * lanes}, type);
  }

  void expect_gates(const char* name, const Buffer& buffer, ffi::DataType type) {
    expect_kept(name, buffer, 4, type);
  }

  // Returns the mask, or null where padding is bool [0, 0] and all steps are there, and where there
  // is no step at all.
  void* mask(const Buffer& padding) {
    const auto found = padding.dimensions();
    if (padding.element_type() == ffi::PRED && found.size() == 2 && found[0] == 0 && found[1] == 0) {
      return nullptr;
    }
    expect("padding", padding, {layer_.timesteps, layer_.batch}, ffi::PRED);
    return layer_.timesteps == 0 || layer_.batch == 0 ? nullptr : padding.untyped_data();
  }

  // An array that nothing writes would show what was in memory before.
  void expect_empty(const char* name, const Buffer& buffer) {
    if (!problem_.empty()) return;
    const auto found = buffer.dimensions();
    if (std::find(found.begin(), found.end(), 0) != found.end()) return;
    problem_ = std::string(name) + " is " + described(buffer.element_type(), found) +
               "; expected an empty array, because this call keeps nothing there";
  }

  ffi::DataType type() const { return type_; }

 private:
  ffi::DataType type_, weights_;
  LstmLayer layer_{};
  std::string problem_;
};

ffi::Error forward_call(ffi::ThreadPool threads, bool reverse, bool keep, Buffer x, Buffer h,
                        Buffer c, Buffer kernel, Buffer recurrent, Buffer bias, Buffer padding,
                        Result y, Result h_last, Result c_last, Result gates, Result cells,
                        Result hidden) {
  Checks checks(x, recurrent, reverse);
  const LstmLayer& layer = checks.layer();
  const std::int64_t width = 4 * layer.units;
  checks.expect_state("h", h);
  checks.expect_state("c", c);
  checks.expect_weight("kernel", kernel, {layer.inputs, width});
  checks.expect_weight("recurrent_kernel", recurrent, {layer.units, width});
  checks.expect_weight("bias", bias, {width});
  void* const mask = checks.mask(padding);
  checks.expect_sequence("y", *y);
  checks.expect_state("h_last", *h_last);
  checks.expect_state("c_last", *c_last);
  if (keep) {
    checks.expect_gates("gates", *gates, checks.type());
    checks.expect_kept("cells", *cells, 1, checks.type());
  } else {
    checks.expect_empty("gates", *gates);
    checks.expect_empty("cells", *cells);
  }
  const bool keep_hidden = keep && mask != nullptr;
  if (keep_hidden) {
    checks.expect_sequence("hidden", *hidden);
  } else {
    checks.expect_empty("hidden", *hidden);
  }
  if (!checks.problem().empty()) return invalid("lstm_impl_forward: " + checks.problem());
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
                            keep_hidden ? hidden->untyped_data() : nullptr};
  return call(lstm_forward, threads, layer, pointers);
}

ffi::Error backward_call(ffi::ThreadPool threads, bool reverse, Buffer x, Buffer h, Buffer c,
                         Buffer recurrent, Buffer padding, Buffer hidden, Buffer gates,
                         Buffer cells, Buffer dy, Buffer dh_last, Buffer dc_last, Result dz,
                         Result dh, Result dc, Result dkernel, Result drecurrent, Result dbias) {
  Checks checks(x, recurrent, reverse);
  const LstmLayer& layer = checks.layer();
  const std::int64_t width = 4 * layer.units;
  checks.expect_state("h", h);
  checks.expect_state("c", c);
  checks.expect_weight("recurrent_kernel", recurrent, {layer.units, width});
  void* const mask = checks.mask(padding);
  checks.expect_sequence("hidden", hidden);
  checks.expect_gates("gates", gates, checks.type());
  checks.expect_kept("cells", cells, 1, checks.type());
  checks.expect_sequence("dy", dy);
  checks.expect_state("dh_last", dh_last);
  checks.expect_state("dc_last", dc_last);
  checks.expect_gates("dz", *dz, ffi::F32);
  checks.expect_state("dh", *dh);
  checks.expect_state("dc", *dc);
  checks.expect_weight("dkernel", *dkernel, {layer.inputs, width});
  checks.expect_weight("drecurrent_kernel", *drecurrent, {layer.units, width});
  checks.expect_weight("dbias", *dbias, {width});
  if (!checks.problem().empty()) return invalid("lstm_impl_backward: " + checks.problem());
  void* const pointers[] = {
      recurrent.untyped_data(), x.untyped_data(),        h.untyped_data(),
      c.untyped_data(),         mask,                    hidden.untyped_data(),
      gates.untyped_data(),     cells.untyped_data(),    dy.untyped_data(),
      dh_last.untyped_data(),   dc_last.untyped_data(),  dz->untyped_data(),
      dh->untyped_data(),       dc->untyped_data(),      dkernel->untyped_data(),
      drecurrent->untyped_data(), dbias->untyped_data()};
  return call(lstm_backward, threads, layer, pointers);
}

ffi::Error input_gradient_call(ffi::ThreadPool threads, Buffer kernel, Buffer dz, Result dx) {
  Checks checks(*dx, kernel, false);
  const LstmLayer& layer = checks.layer();
  checks.expect_weight("kernel", kernel, {layer.inputs, 4 * layer.units});
  checks.expect_gates("dz", dz, ffi::F32);
  if (!checks.problem().empty()) return invalid("lstm_impl_input_gradient: " + checks.problem());
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
