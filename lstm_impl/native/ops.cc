// Makes liblstm available as TensorFlow ops: shapes, checks, memory, and TensorFlow's own threads.
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "c_api.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace lstm_impl {
namespace {

using tensorflow::DataType;
using tensorflow::DT_BOOL;
using tensorflow::DT_FLOAT;
using tensorflow::DT_INT32;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;
namespace errors = tensorflow::errors;

// Returns the number of columns that a kernel has for each unit. cell: an LstmCell.
std::int64_t gates_of(int cell) { return cell == LSTM_LSTM ? 4 : 3; }

// ---- shapes, as far as they are known when a graph is made

absl::Status forward_shapes(InferenceContext* c) {
  ShapeHandle x, h;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &h));
  bool batch_major;
  TF_RETURN_IF_ERROR(c->GetAttr("batch_major", &batch_major));
  DimensionHandle batch, units = c->Dim(h, 2);
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(x, batch_major ? 0 : 1), c->Dim(h, 1), &batch));
  ShapeHandle recurrent = c->input(4);  // of a variable's handle, a scalar
  if (c->RankKnown(recurrent) && c->Rank(recurrent) == 2) {
    TF_RETURN_IF_ERROR(c->Merge(units, c->Dim(recurrent, 0), &units));
  }
  const DimensionHandle time = c->Dim(x, batch_major ? 1 : 0);
  c->set_output(
      0, batch_major ? c->MakeShape({batch, time, units}) : c->MakeShape({time, batch, units}));
  int cell;
  TF_RETURN_IF_ERROR(c->GetAttr("cell", &cell));
  c->set_output(1, c->MakeShape({c->MakeDim(1), batch, units}));
  c->set_output(2, c->MakeShape({c->MakeDim(cell == LSTM_LSTM ? 1 : 0), batch, units}));
  for (int kept = 3; kept < c->num_outputs(); ++kept) {
    c->set_output(kept, c->Vector(c->UnknownDim()));
  }
  return absl::OkStatus();
}

absl::Status backward_shapes(InferenceContext* c) {
  ShapeHandle x, h;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &x));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &h));
  bool state;
  TF_RETURN_IF_ERROR(c->GetAttr("state", &state));
  int cell;
  TF_RETURN_IF_ERROR(c->GetAttr("cell", &cell));
  const auto of_state = [&](bool there) {
    return c->MakeShape({c->MakeDim(there ? 1 : 0), c->Dim(h, 1), c->Dim(h, 2)});
  };
  const DimensionHandle units = c->Dim(h, 2);
  DimensionHandle gates;
  TF_RETURN_IF_ERROR(c->Multiply(units, gates_of(cell), &gates));
  c->set_output(0, c->Vector(c->UnknownDim()));
  c->set_output(1, of_state(state));
  c->set_output(2, of_state(state && cell == LSTM_LSTM));
  c->set_output(3, c->MakeShape({c->Dim(x, 2), gates}));
  c->set_output(4, c->MakeShape({units, gates}));
  c->set_output(5, cell == LSTM_GRU ? c->MakeShape({c->MakeDim(2), gates}) : c->Vector(gates));
  return absl::OkStatus();
}

// The input has the same shape as its gradient.
absl::Status input_gradient_shapes(InferenceContext* c) {
  c->set_output(0, c->input(0));
  return absl::OkStatus();
}

// There are two ops, because each output of an op that is called outside a graph takes about a
// microsecond, even if nobody reads it.
#define LSTM_IMPL_FORWARD_OP(name)                       \
  REGISTER_OP(name)                                      \
      .Input("x: T")                                     \
      .Input("h: T")                                     \
      .Input("c: T")                                     \
      .Input("kernel: W")                                \
      .Input("recurrent_kernel: W")                      \
      .Input("bias: W")                                  \
      .Input("padding: P")                               \
      .Output("y: T")                                    \
      .Output("h_last: T")                               \
      .Output("c_last: T")                               \
      .Attr("P: {int32, bool, uint8} = DT_INT32")        \
      .Attr("T: {float, bfloat16} = DT_FLOAT")           \
      .Attr("W: {float, bfloat16, resource} = DT_FLOAT") \
      .Attr("row: int = 0")                              \
      .Attr("reverse: bool = false")                     \
      .Attr("bf32: bool = false")                        \
      .Attr("bf16x3: bool = false")                      \
      .Attr("cell: int = 0")                             \
      .Attr("batch_major: bool = false")                 \
      .SetShapeFn(forward_shapes)

LSTM_IMPL_FORWARD_OP("LstmImplFusedLstm").Doc(R"doc(
One direction of one LSTM layer over a whole sequence, on a CPU, for inference: nothing is kept.

x: [time, batch, inputs], or [batch, time, inputs] if batch_major.
h, c: initial states [rows, batch, units], of which `row` is this layer's.
kernel, recurrent_kernel, bias: [inputs, 4 * units], [units, 4 * units] and [4 * units], gates
  i, f, g, o. Outside a graph they may be the handles of variables, which saves reading each by
  an op; in a graph nothing orders this op and the variables' updates. All three are of type T, or
  all three are float.
bf32: factors of float's products may be rounded to bfloat16.
bf16x3: float's products may be sums of three products of bfloat16 parts.
cell: 0 for an LSTM, 1 for a GRU that resets h after its product with the recurrent kernel, 2 for one
  that resets it before. The kernels of a GRU are [inputs, 3 * units] and [units, 3 * units], gates
  r, z, n. Cell 1 has two biases, [2, 3 * units], the second one of the recurrent product. A GRU has
  no cell state: c is not read, and c_last is [0, batch, units].
padding: int32 lengths [batch], bool [time, batch] that is false where a step is to be left out,
  uint8 [time, batch], or an empty vector. The bits of uint8 are those of LstmStep in c_api.h: 1 for
  a step that is there, 2 where the state becomes zero before it, 4 where it becomes the initial one.
y: [time, batch, units], or batch-major as x.
h_last, c_last: [1, batch, units].
)doc");

LSTM_IMPL_FORWARD_OP("LstmImplFusedLstmTraining")
    .Output("gates: T")
    .Output("cells: T")
    .Output("hidden: T")
    .Doc(R"doc(
The same, for training.

gates, cells, hidden: what LstmImplFusedLstmGrad needs.
)doc");

#undef LSTM_IMPL_FORWARD_OP

REGISTER_OP("LstmImplFusedLstmGrad")
    .Input("x: T")
    .Input("h: T")
    .Input("c: T")
    .Input("recurrent_kernel: W")
    .Input("padding: P")
    .Input("y: T")
    .Input("gates: T")
    .Input("cells: T")
    .Input("hidden: T")
    .Input("dy: T")
    .Input("dh_last: T")
    .Input("dc_last: T")
    .Output("dz: float")
    .Output("dh: T")
    .Output("dc: T")
    .Output("dkernel: G")
    .Output("drecurrent_kernel: G")
    .Output("dbias: G")
    .Attr("P: {int32, bool, uint8} = DT_INT32")
    .Attr("T: {float, bfloat16} = DT_FLOAT")
    .Attr("W: {float, bfloat16, resource} = DT_FLOAT")
    .Attr("G: {float, bfloat16} = DT_FLOAT")
    .Attr("row: int = 0")
    .Attr("reverse: bool = false")
    .Attr("batch_major: bool = false")
    .Attr("state: bool = true")
    .Attr("overwrite: bool = false")
    .Attr("cell: int = 0")
    .SetShapeFn(backward_shapes)
    .Doc(R"doc(
Gradients of LstmImplFusedLstmTraining, but for the input's, which LstmImplFusedLstmInputGrad makes.

x, h, c, recurrent_kernel, padding: as there.
y, gates, cells, hidden: what it returned.
dy: as y; dh_last, dc_last: [rows, batch, units], of which `row` is this layer's.
overwrite: write dz over gates, whoever else may still read them, if they are float.
G: the type of the weights, which a variable's handle does not tell before it is read.
dz: for the input's gradient.
dh, dc: [1, batch, units], or [0, batch, units] unless `state`; dc is that of any GRU, too.
cell: as there.
)doc");

REGISTER_OP("LstmImplFusedLstmInputGrad")
    .Input("x: T")
    .Input("kernel: W")
    .Input("padding: P")
    .Input("dz: float")
    .Output("dx: T")
    .Attr("P: {int32, bool, uint8} = DT_INT32")
    .Attr("T: {float, bfloat16} = DT_FLOAT")
    .Attr("W: {float, bfloat16, resource} = DT_FLOAT")
    .Attr("reverse: bool = false")
    .Attr("batch_major: bool = false")
    .Attr("cell: int = 0")
    .SetShapeFn(input_gradient_shapes)
    .Doc(R"doc(
The gradient of the input x, of which only the shape is read, from dz and the kernel. padding and
reverse are those of the forward pass.
)doc");

// ---- checks

absl::Status status_of(LstmCode code) {
  if (code == LSTM_OK) return absl::OkStatus();
  if (code == LSTM_NO_MEMORY) return errors::ResourceExhausted(lstm_error());
  return code == LSTM_INVALID ? errors::InvalidArgument(lstm_error())
                              : errors::Internal(lstm_error());
}

// Sets the sizes of a layer from x and from the rows and columns of its kernel, and checks them.
absl::Status layer_of(const Tensor& x, std::int64_t units, bool batch_major, bool reverse,
                      int cell, LstmLayer* layer) {
  if (x.dims() != 3) {
    return errors::InvalidArgument("x has shape ", x.shape().DebugString(),
                                   "; expected three axes");
  }
  *layer = {x.dim_size(batch_major ? 1 : 0),
            x.dim_size(batch_major ? 0 : 1),
            x.dim_size(2),
            units,
            batch_major,
            reverse,
            x.dtype() == tensorflow::DT_BFLOAT16,
            0,
            0,
            cell,
            0,
            0};
  return status_of(lstm_check(layer));
}

absl::Status check(const char* name, const Tensor& tensor, const TensorShape& expected) {
  if (tensor.shape() == expected) return absl::OkStatus();
  return errors::InvalidArgument(name, " has shape ", tensor.shape().DebugString(), "; expected ",
                                 expected.DebugString());
}

absl::Status check_states(const char* name, const Tensor& states, const LstmLayer& layer, int row) {
  if (states.dims() == 3 && states.dim_size(0) > row && row >= 0 &&
      states.dim_size(1) == layer.batch && states.dim_size(2) == layer.units) {
    return absl::OkStatus();
  }
  return errors::InvalidArgument(name, " has shape ", states.shape().DebugString(),
                                 "; expected [more than ", row, ",", layer.batch, ",", layer.units,
                                 "]");
}

// Returns the shape of the bias: one row, or two rows for a GRU that resets after the product.
TensorShape bias_shape(const LstmLayer& layer) {
  const std::int64_t columns = gates_of(layer.cell) * layer.units;
  return layer.cell == LSTM_GRU ? TensorShape({2, columns}) : TensorShape({columns});
}

// Returns the second of two biases, or null.
void* second_bias(const Tensor& bias, const LstmLayer& layer) {
  if (layer.cell != LSTM_GRU) return nullptr;
  const std::int64_t size = tensorflow::DataTypeSize(bias.dtype());
  return static_cast<char*>(bias.data()) + gates_of(layer.cell) * layer.units * size;
}

TensorShape sequence_shape(const LstmLayer& layer, std::int64_t features) {
  if (layer.batch_major) return TensorShape({layer.batch, layer.timesteps, features});
  return TensorShape({layer.timesteps, layer.batch, features});
}

void* row_of(const Tensor& states, const LstmLayer& layer, int row) {
  const std::int64_t size = tensorflow::DataTypeSize(states.dtype());
  return static_cast<char*>(states.data()) + row * layer.batch * layer.units * size;
}

// Says which steps are there, [time, batch]. The pointer is null if all of them are.
class Mask {
 public:
  absl::Status read(const Tensor& padding, const LstmLayer& layer) {
    if (padding.NumElements() == 0) return absl::OkStatus();
    if (padding.dtype() == DT_BOOL || padding.dtype() == tensorflow::DT_UINT8) {
      TF_RETURN_IF_ERROR(check("padding", padding, TensorShape({layer.timesteps, layer.batch})));
      static_assert(sizeof(bool) == 1);
      data_ = padding.data();
      return absl::OkStatus();
    }
    TF_RETURN_IF_ERROR(check("padding", padding, TensorShape({layer.batch})));
    const auto lengths = padding.flat<std::int32_t>();
    bool full = true;
    for (std::int64_t b = 0; b < layer.batch; ++b) full = full && lengths(b) >= layer.timesteps;
    if (full) return absl::OkStatus();
    try {
      made_.resize(static_cast<std::size_t>(layer.timesteps * layer.batch));
    } catch (const std::bad_alloc&) {
      return errors::ResourceExhausted("there is no memory for the mask of a fused LSTM op");
    }
    for (std::int64_t t = 0; t < layer.timesteps; ++t) {
      for (std::int64_t b = 0; b < layer.batch; ++b) {
        made_[static_cast<std::size_t>(t * layer.batch + b)] = t < lengths(b);
      }
    }
    data_ = made_.data();
    return absl::OkStatus();
  }

  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  std::vector<unsigned char> made_;
};

// Reads a weight that is passed as a tensor, or as the handle of its variable.
absl::Status read_weight(OpKernelContext* context, int index, Tensor* weight) {
  const Tensor& input = context->input(index);
  if (input.dtype() != tensorflow::DT_RESOURCE) {
    *weight = input;
    return absl::OkStatus();
  }
  tensorflow::core::RefCountPtr<tensorflow::Var> variable;
  TF_RETURN_IF_ERROR(
      tensorflow::LookupResource(context, tensorflow::HandleFromInput(context, index), &variable));
  tensorflow::tf_shared_lock lock(*variable->mu());
  // The tensor shares the memory of the variable. A later update of the variable leaves this memory
  // unchanged, and writes to other memory.
  *weight = *variable->tensor();
  return absl::OkStatus();
}

// Completes the type of a layer. So far it is the type of x. The weights have the same type, or
// float.
absl::Status check_weight_type(DataType weights, LstmLayer* layer) {
  const DataType numbers = layer->type == LSTM_BFLOAT16 ? tensorflow::DT_BFLOAT16 : DT_FLOAT;
  if (weights == numbers) return absl::OkStatus();
  if (weights != DT_FLOAT) {
    return errors::InvalidArgument("a weight is ", tensorflow::DataTypeString(weights),
                                   " and x is ", tensorflow::DataTypeString(numbers),
                                   "; expected weights of the type of x, or of float");
  }
  layer->type = LSTM_MIXED_BFLOAT16;
  return absl::OkStatus();
}

using Call = LstmCode (*)(const LstmLayer*, const LstmThreads*, void* const*);

// Calls the library with TensorFlow's own threads.
absl::Status call(Call function, OpKernelContext* context, const LstmLayer& layer,
                  void* const* pointers) {
  const auto* cpu = context->device()->tensorflow_cpu_worker_threads();
  const LstmThreads threads{[](void* pool, void (*work)(void*), void* argument) {
                              static_cast<tensorflow::thread::ThreadPool*>(pool)->Schedule(
                                  [work, argument] { work(argument); });
                            },
                            cpu->workers, cpu->num_threads};
  return status_of(function(&layer, &threads, pointers));
}

// ---- ops

class FusedLSTM : public OpKernel {
 public:
  explicit FusedLSTM(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("row", &row_));
    OP_REQUIRES_OK(context, context->GetAttr("reverse", &reverse_));
    OP_REQUIRES_OK(context, context->GetAttr("batch_major", &batch_major_));
    OP_REQUIRES_OK(context, context->GetAttr("bf32", &bf32_));
    OP_REQUIRES_OK(context, context->GetAttr("bf16x3", &bf16x3_));
    OP_REQUIRES_OK(context, context->GetAttr("cell", &cell_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &h = context->input(1), &c = context->input(2);
    Tensor kernel, recurrent, bias;
    OP_REQUIRES_OK(context, read_weight(context, 3, &kernel));
    OP_REQUIRES_OK(context, read_weight(context, 4, &recurrent));
    OP_REQUIRES_OK(context, read_weight(context, 5, &bias));
    OP_REQUIRES(context, recurrent.dtype() == kernel.dtype() && bias.dtype() == kernel.dtype(),
                errors::InvalidArgument(
                    "the weights have several types: ", tensorflow::DataTypeString(kernel.dtype()),
                    ", ", tensorflow::DataTypeString(recurrent.dtype()), " and ",
                    tensorflow::DataTypeString(bias.dtype())));
    OP_REQUIRES(
        context, recurrent.dims() == 2,
        errors::InvalidArgument("recurrent_kernel has shape ", recurrent.shape().DebugString(),
                                "; expected [units, ", gates_of(cell_), " * units]"));
    const std::int64_t units = recurrent.dim_size(0), gates = gates_of(cell_) * units;
    LstmLayer layer;
    OP_REQUIRES_OK(context, layer_of(x, units, batch_major_, reverse_, cell_, &layer));
    OP_REQUIRES_OK(context, check_weight_type(kernel.dtype(), &layer));
    if (bf32_ && layer.type == LSTM_FLOAT) layer.type = LSTM_FLOAT_BY_BFLOAT16;
    if (bf16x3_ && layer.type == LSTM_FLOAT) layer.type = LSTM_FLOAT_BY_THREE_PRODUCTS;
    OP_REQUIRES_OK(context, check("recurrent_kernel", recurrent, TensorShape({units, gates})));
    OP_REQUIRES_OK(context, check("kernel", kernel, TensorShape({layer.inputs, gates})));
    OP_REQUIRES_OK(context, check("bias", bias, bias_shape(layer)));
    OP_REQUIRES_OK(context, check_states("h", h, layer, row_));
    const bool has_cells = cell_ == LSTM_LSTM;
    if (has_cells) OP_REQUIRES_OK(context, check_states("c", c, layer, row_));
    Mask mask;
    OP_REQUIRES_OK(context, mask.read(context->input(6), layer));

    const TensorShape state({1, layer.batch, units});
    const TensorShape cell_state({has_cells ? 1 : 0, layer.batch, units});
    const std::int64_t rows = layer.timesteps * layer.batch;
    Tensor *y, *h_last, *c_last;
    OP_REQUIRES_OK(context, context->allocate_output(0, sequence_shape(layer, units), &y));
    OP_REQUIRES_OK(context, context->allocate_output(1, state, &h_last));
    OP_REQUIRES_OK(context, context->allocate_output(2, cell_state, &c_last));
    void *gates_kept = nullptr, *cells_kept = nullptr, *hidden_kept = nullptr;
    if (num_outputs() > 3) {
      OP_REQUIRES_OK(context, keep(context, 3, lstm_gates_size(&layer), &gates_kept));
      OP_REQUIRES_OK(context, keep(context, 4, lstm_cells_size(&layer), &cells_kept));
      const bool own_hidden = mask.data() != nullptr;
      OP_REQUIRES_OK(context, keep(context, 5, own_hidden ? rows * units : 0, &hidden_kept));
      if (!own_hidden) hidden_kept = nullptr;
    }
    void* const pointers[] = {kernel.data(),
                              recurrent.data(),
                              bias.data(),
                              x.data(),
                              row_of(h, layer, row_),
                              has_cells ? row_of(c, layer, row_) : nullptr,
                              mask.data(),
                              y->data(),
                              h_last->data(),
                              has_cells ? c_last->data() : nullptr,
                              gates_kept,
                              has_cells ? cells_kept : nullptr,
                              hidden_kept,
                              second_bias(bias, layer)};
    OP_REQUIRES_OK(context, call(lstm_forward, context, layer, pointers));
  }

 private:
  static absl::Status keep(OpKernelContext* context, int output, std::int64_t size, void** kept) {
    Tensor* tensor;
    TF_RETURN_IF_ERROR(context->allocate_output(output, TensorShape({size}), &tensor));
    *kept = tensor->data();
    return absl::OkStatus();
  }

  int row_, cell_;
  bool reverse_, batch_major_, bf32_, bf16x3_;
};

class FusedLSTMGradient : public OpKernel {
 public:
  explicit FusedLSTMGradient(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("row", &row_));
    OP_REQUIRES_OK(context, context->GetAttr("reverse", &reverse_));
    OP_REQUIRES_OK(context, context->GetAttr("batch_major", &batch_major_));
    OP_REQUIRES_OK(context, context->GetAttr("state", &state_));
    OP_REQUIRES_OK(context, context->GetAttr("overwrite", &overwrite_));
    OP_REQUIRES_OK(context, context->GetAttr("G", &gradient_type_));
    OP_REQUIRES_OK(context, context->GetAttr("cell", &cell_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &h = context->input(1), &c = context->input(2);
    Tensor recurrent;
    OP_REQUIRES_OK(context, read_weight(context, 3, &recurrent));
    const Tensor &y = context->input(5), &gates = context->input(6), &cells = context->input(7);
    const Tensor& hidden = context->input(8);
    const Tensor &dy = context->input(9), &dh = context->input(10), &dc = context->input(11);
    OP_REQUIRES(
        context, recurrent.dims() == 2,
        errors::InvalidArgument("recurrent_kernel has shape ", recurrent.shape().DebugString(),
                                "; expected [units, ", gates_of(cell_), " * units]"));
    const std::int64_t units = recurrent.dim_size(0), width = gates_of(cell_) * units;
    const bool has_cells = cell_ == LSTM_LSTM;
    LstmLayer layer;
    OP_REQUIRES_OK(context, layer_of(x, units, batch_major_, reverse_, cell_, &layer));
    OP_REQUIRES_OK(context, check_weight_type(recurrent.dtype(), &layer));
    OP_REQUIRES(context, recurrent.dtype() == gradient_type_,
                errors::InvalidArgument(
                    "the weights are ", tensorflow::DataTypeString(recurrent.dtype()),
                    " and their gradients (G) ", tensorflow::DataTypeString(gradient_type_)));
    OP_REQUIRES_OK(context, check("recurrent_kernel", recurrent, TensorShape({units, width})));
    OP_REQUIRES_OK(context, check_states("h", h, layer, row_));
    OP_REQUIRES_OK(context, check_states("dh_last", dh, layer, row_));
    if (has_cells) {
      OP_REQUIRES_OK(context, check_states("c", c, layer, row_));
      OP_REQUIRES_OK(context, check_states("dc_last", dc, layer, row_));
    }
    OP_REQUIRES_OK(context, check("y", y, sequence_shape(layer, units)));
    OP_REQUIRES_OK(context, check("dy", dy, sequence_shape(layer, units)));
    OP_REQUIRES(
        context,
        gates.NumElements() == lstm_gates_size(&layer) && cells.NumElements() == lstm_cells_size(&layer),
        errors::InvalidArgument("gates and cells have shapes ", gates.shape().DebugString(),
                                " and ", cells.shape().DebugString(),
                                ", and are not what this layer kept in LstmImplFusedLstmTraining"));
    Mask mask;
    OP_REQUIRES_OK(context, mask.read(context->input(4), layer));
    if (mask.data() != nullptr) {
      OP_REQUIRES_OK(context,
                     check("hidden", hidden, TensorShape({layer.timesteps * layer.batch * units})));
    }

    const TensorShape of_state({state_ ? 1 : 0, layer.batch, units});
    const TensorShape of_cells({state_ && has_cells ? 1 : 0, layer.batch, units});
    Tensor *dz, *dh0, *dc0, *dkernel, *drecurrent, *dbias;
    if (gates.dtype() != DT_FLOAT) {
      OP_REQUIRES_OK(context, context->allocate_output(0, gates.shape(), &dz));
    } else if (overwrite_) {
      context->set_output(0, gates);
      dz = context->mutable_output(0);
    } else {  // in place all the same, where nobody else will read the gates
      OP_REQUIRES_OK(context,
                     context->forward_input_or_allocate_output({6}, 0, gates.shape(), &dz));
    }
    OP_REQUIRES_OK(context, context->allocate_output(1, of_state, &dh0));
    OP_REQUIRES_OK(context, context->allocate_output(2, of_cells, &dc0));
    OP_REQUIRES_OK(context,
                   context->allocate_output(3, TensorShape({layer.inputs, width}), &dkernel));
    OP_REQUIRES_OK(context, context->allocate_output(4, recurrent.shape(), &drecurrent));
    OP_REQUIRES_OK(context, context->allocate_output(5, bias_shape(layer), &dbias));
    void* const pointers[] = {recurrent.data(),
                              x.data(),
                              row_of(h, layer, row_),
                              has_cells ? row_of(c, layer, row_) : nullptr,
                              mask.data(),
                              mask.data() != nullptr ? hidden.data() : y.data(),
                              gates.data(),
                              has_cells ? cells.data() : nullptr,
                              dy.data(),
                              row_of(dh, layer, row_),
                              has_cells ? row_of(dc, layer, row_) : nullptr,
                              dz->data(),
                              state_ ? dh0->data() : nullptr,
                              state_ && has_cells ? dc0->data() : nullptr,
                              dkernel->data(),
                              drecurrent->data(),
                              dbias->data(),
                              second_bias(*dbias, layer)};
    OP_REQUIRES_OK(context, call(lstm_backward, context, layer, pointers));
  }

 private:
  int row_, cell_;
  bool reverse_, batch_major_, state_, overwrite_;
  DataType gradient_type_;
};

class FusedLSTMInputGradient : public OpKernel {
 public:
  explicit FusedLSTMInputGradient(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("reverse", &reverse_));
    OP_REQUIRES_OK(context, context->GetAttr("batch_major", &batch_major_));
    OP_REQUIRES_OK(context, context->GetAttr("cell", &cell_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &dz = context->input(3);
    Tensor kernel;
    OP_REQUIRES_OK(context, read_weight(context, 1, &kernel));
    const std::int64_t gates = gates_of(cell_);
    OP_REQUIRES(context, kernel.dims() == 2 && kernel.dim_size(1) % gates == 0,
                errors::InvalidArgument("kernel has shape ", kernel.shape().DebugString(),
                                        "; expected [inputs, ", gates, " * units]"));
    const std::int64_t units = kernel.dim_size(1) / gates;
    LstmLayer layer;
    OP_REQUIRES_OK(context, layer_of(x, units, batch_major_, reverse_, cell_, &layer));
    OP_REQUIRES_OK(context, check_weight_type(kernel.dtype(), &layer));
    OP_REQUIRES_OK(context, check("kernel", kernel, TensorShape({layer.inputs, gates * units})));
    OP_REQUIRES(context, dz.NumElements() == lstm_gates_size(&layer),
                errors::InvalidArgument("dz has shape ", dz.shape().DebugString(),
                                        ", which is not this layer's"));
    Mask mask;
    OP_REQUIRES_OK(context, mask.read(context->input(2), layer));
    Tensor* dx;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    void* const pointers[] = {kernel.data(), dz.data(), mask.data(), dx->data()};
    OP_REQUIRES_OK(context, call(lstm_input_gradient, context, layer, pointers));
  }

 private:
  int cell_;
  bool reverse_, batch_major_;
};

#define LSTM_IMPL_REGISTER(name, Op, type) \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), Op)

#define LSTM_IMPL_REGISTER_ALL(type)                                         \
  LSTM_IMPL_REGISTER("LstmImplFusedLstm", FusedLSTM, type);                  \
  LSTM_IMPL_REGISTER("LstmImplFusedLstmTraining", FusedLSTM, type);          \
  LSTM_IMPL_REGISTER("LstmImplFusedLstmGrad", FusedLSTMGradient, type);      \
  LSTM_IMPL_REGISTER("LstmImplFusedLstmInputGrad", FusedLSTMInputGradient, type)

LSTM_IMPL_REGISTER_ALL(float);
LSTM_IMPL_REGISTER_ALL(tensorflow::bfloat16);

#undef LSTM_IMPL_REGISTER_ALL
#undef LSTM_IMPL_REGISTER

}  // namespace
}  // namespace lstm_impl
