// Replaces TensorFlow's own ops by this library's op in graphs that were traced without this
// library, if the library is loaded.
//
// A layer marks a function that consists of TensorFlow's own ops (lstm_impl/keras/layer.py). The
// function's attribute "api_implements" begins with kMark, and its arguments and results are the
// same as those of LstmImplFusedLstm. TensorFlow does not inline such functions. Grappler calls
// this optimizer for each graph before the graph runs for the first time. The optimizer then
// replaces each call of such a function on a CPU of this process by the op. A program without the
// library runs the function as it is.
//
// Anyone can write the mark, and a model must compute the same with this library and without it.
// Therefore the op replaces a call only if the body of the function has the digest of a body that
// this library has traced (portable_digests.h). The optimizer leaves everything else unchanged:
// other bodies, including those of an older or newer release, graphs that are not well-formed, and
// graphs for which the code in this file fails.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "function_digest.h"
#include "portable_digests.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/function.pb.h"
#include "tensorflow/core/framework/graph.pb.h"
#include "tensorflow/core/framework/node_def.pb.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer_registry.h"

namespace lstm_impl {
namespace {

using tensorflow::FunctionDef;
using tensorflow::GraphDef;
using tensorflow::NodeDef;
namespace grappler = tensorflow::grappler;

// The text after this mark makes each function's text unique.
constexpr absl::string_view kMark = "fused_lstm_impl:2:";
constexpr std::array<const char*, 7> kInputs = {"x",    "h",      "c", "kernel", "recurrent_kernel",
                                                "bias", "padding"};
constexpr std::size_t kKernel = 3, kPadding = 6;
// TensorFlow's names of the results y, h_last and c_last of a traced function.
constexpr std::array<const char*, 3> kOutputs = {"identity", "identity_1", "identity_2"};

bool has_mark(const FunctionDef& function) {
  const auto found = function.attr().find("api_implements");
  return found != function.attr().end() && absl::StartsWith(found->second.s(), kMark);
}

template <class Names>
int place_of(const Names& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

// Returns whether a device is a CPU of this process. Another process of a cluster may not have
// loaded the library.
bool on_this_cpu(const std::string& device) {
  return absl::StartsWith(device, "/job:localhost/replica:0/task:0/device:CPU:");
}

// An input of a node: "name", "name:2" or "^name".
struct Input {
  std::string node;
  int output = 0;  // -1: a control input

  // Reads the text of an input. Returns false if it has none of these forms.
  bool read(const std::string& text) {
    const bool control = absl::StartsWith(text, "^");
    const std::size_t colon = control ? std::string::npos : text.rfind(':');
    node = text.substr(control ? 1 : 0, colon);
    output = control ? -1 : 0;
    return colon == std::string::npos ||
           (absl::SimpleAtoi(text.substr(colon + 1), &output) && output >= 0);
  }
};

// Returns the body that a function has, or null if it is not one of this library's bodies.
//
// TensorFlow may have removed results that nothing reads.
const PortableBody* body_of(const FunctionDef& function,
                            const tensorflow::FunctionDefLibrary& library) {
  const std::set<std::string> arguments(kInputs.begin(), kInputs.end());
  const std::map<std::string, std::string> results = result_digests(function, library, arguments);
  if (results.empty()) return nullptr;
  for (const PortableBody& body : kPortableBodies) {
    const bool same = std::all_of(results.begin(), results.end(), [&](const auto& result) {
      const int place = place_of(kOutputs, result.first);
      return place >= 0 && result.second == body.digests[place];
    });
    if (same) return &body;
  }
  return nullptr;
}

// The op that computes the same as a call of a marked function.
//
// Grappler may have moved constant arguments into the function, where a node then has the name of
// the argument. It may also have removed results that nothing reads.
struct FusedCall {
  NodeDef op;
  std::vector<NodeDef> constants;
  std::vector<int> outputs;  // of each of the call's results

  // Returns false if the function is not one that a layer made. For example, TensorFlow derives
  // functions from it for a gradient; they have the same mark and another body.
  bool make(const NodeDef& call, const FunctionDef& function, const PortableBody& body) {
    const auto& signature = function.signature();
    for (const auto& result : signature.output_arg()) {
      outputs.push_back(place_of(kOutputs, result.name()));
      if (outputs.back() < 0) return false;
    }
    std::array<std::string, kInputs.size()> inputs;
    std::array<tensorflow::DataType, kInputs.size()> types{};
    std::vector<std::string> controls;
    int number = 0;
    for (const std::string& input : call.input()) {
      if (absl::StartsWith(input, "^")) {
        controls.push_back(input);
        continue;
      }
      if (number == signature.input_arg_size()) return false;
      const auto& argument = signature.input_arg(number++);
      const int place = place_of(kInputs, argument.name());
      if (place < 0 || !inputs[place].empty()) return false;
      inputs[place] = input;
      types[place] = argument.type();
    }
    if (number != signature.input_arg_size()) return false;
    for (std::size_t place = 0; place < inputs.size(); ++place) {
      NodeDef constant;
      if (inputs[place].empty()) {
        const auto& nodes = function.node_def();
        const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const NodeDef& node) {
          return node.name() == kInputs[place] && node.op() == "Const";
        });
        if (found == nodes.end() || found->attr().count("dtype") == 0) return false;
        constant = *found;
        types[place] = constant.attr().at("dtype").type();
      }
      // The body of a layer without a mask does not read these numbers, but the op would read them.
      if (place == kPadding && types[place] == tensorflow::DT_INT32) constant = no_padding();
      if (constant.op().empty()) continue;
      constant.set_name(absl::StrCat(call.name(), "/fused_lstm/", kInputs[place]));
      constant.set_device(call.device());
      // The constant waits for what the call waits for. So it is in the same iteration of a loop.
      constant.clear_input();
      for (const std::string& before : call.input()) {
        Input read;
        if (!read.read(before)) return false;
        constant.add_input(absl::StrCat("^", read.node));
      }
      inputs[place] = constant.name();
      constants.push_back(std::move(constant));
    }
    const auto differs_from = [](tensorflow::DataType expected) {
      return [expected](tensorflow::DataType type) { return type != expected; };
    };
    const tensorflow::DataType weights = types[kKernel];
    if (std::any_of(&types[0], &types[kKernel], differs_from(types[0])) ||
        std::any_of(&types[kKernel], &types[kPadding], differs_from(weights))) {
      return false;
    }
    // The op takes weights in float together with x of any type.
    if (weights != types[0] && weights != tensorflow::DT_FLOAT) return false;
    if (types[0] != tensorflow::DT_FLOAT && types[0] != tensorflow::DT_BFLOAT16) return false;
    if (types[kPadding] != tensorflow::DT_INT32 && types[kPadding] != tensorflow::DT_BOOL) {
      return false;
    }
    op.set_name(call.name());
    op.set_op("LstmImplFusedLstm");
    op.set_device(call.device());
    for (const std::string& input : inputs) op.add_input(input);
    for (const std::string& control : controls) op.add_input(control);
    auto& attributes = *op.mutable_attr();
    attributes["T"].set_type(types[0]);
    attributes["W"].set_type(weights);
    attributes["P"].set_type(types[kPadding]);
    attributes["row"].set_i(0);
    attributes["reverse"].set_b(body.reverse);
    attributes["batch_major"].set_b(body.batch_major);
    attributes["cell"].set_i(body.cell);
    return true;
  }

 private:
  static NodeDef no_padding() {
    NodeDef node;
    node.set_op("Const");
    auto& attributes = *node.mutable_attr();
    attributes["dtype"].set_type(tensorflow::DT_INT32);
    auto* tensor = attributes["value"].mutable_tensor();
    tensor->set_dtype(tensorflow::DT_INT32);
    tensor->mutable_tensor_shape()->add_dim()->set_size(0);
    return node;
  }
};

class UseFusedLSTM : public grappler::CustomGraphOptimizer {
 public:
  absl::Status Init(const tensorflow::RewriterConfig_CustomGraphOptimizer*) override {
    return absl::OkStatus();
  }

  std::string name() const override { return "lstm_impl"; }

  bool UsesFunctionLibrary() const override { return true; }

  // An optimizer that is aborted has not changed the graph, by convention. TensorFlow is compiled
  // without handlers for exceptions, so an exception that left this function would end the process.
  absl::Status Optimize(grappler::Cluster*, const grappler::GrapplerItem& item,
                        GraphDef* graph) override {
    try {
      const Calls found = calls(item);
      if (found.empty()) {
        return absl::AbortedError("the graph calls no recurrent layer of this library");
      }
      GraphDef made = with_ops(item.graph, found);
      graph->Swap(&made);
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return absl::AbortedError(absl::StrCat("the graph stays as it is: ", error.what()));
    } catch (...) {
      return absl::AbortedError("the graph stays as it is: there was an unknown exception");
    }
  }

 private:
  using Calls = std::unordered_map<std::string, FusedCall>;  // by the name of the node

  static GraphDef with_ops(const GraphDef& graph, const Calls& found) {
    GraphDef made = graph;
    std::vector<NodeDef> constants;
    for (NodeDef& node : *made.mutable_node()) {
      if (const auto call = found.find(node.name()); call != found.end()) {
        node = call->second.op;
        for (const NodeDef& constant : call->second.constants) constants.push_back(constant);
      }
      for (std::string& input : *node.mutable_input()) redirect(found, &input);
    }
    for (const NodeDef& constant : constants) *made.add_node() = constant;
    return made;
  }

  // Returns the calls that the op can compute.
  static Calls calls(const grappler::GrapplerItem& item) {
    const auto& library = item.graph.library();
    std::unordered_map<std::string, const FunctionDef*> marked;
    for (const FunctionDef& function : library.function()) {
      if (has_mark(function)) marked[function.signature().name()] = &function;
    }
    Calls found;
    if (marked.empty() || !item.optimization_options().allow_non_differentiable_rewrites) {
      return found;
    }
    std::unordered_map<std::string, const PortableBody*> bodies;
    std::unordered_map<std::string, int> names;
    for (const NodeDef& node : item.graph.node()) ++names[node.name()];
    const std::unordered_set<std::string> preserved = item.NodesToPreserve();
    for (const NodeDef& node : item.graph.node()) {
      if (node.op() != "PartitionedCall" && node.op() != "StatefulPartitionedCall") continue;
      const auto called = node.attr().find("f");
      if (called == node.attr().end()) continue;
      const auto function = marked.find(called->second.func().name());
      if (function == marked.end() || !on_this_cpu(node.device())) continue;
      if (preserved.count(node.name()) > 0) continue;  // its results are read by name
      if (names[node.name()] > 1) continue;
      if (bodies.count(function->first) == 0) {
        bodies[function->first] = known_body(*function->second, library);
      }
      const PortableBody* body = bodies[function->first];
      FusedCall call;
      if (body == nullptr || !call.make(node, *function->second, *body)) continue;
      const bool taken =
          std::any_of(call.constants.begin(), call.constants.end(),
                      [&](const NodeDef& constant) { return names.count(constant.name()) > 0; });
      if (!taken) found.emplace(node.name(), std::move(call));
    }
    remove_misread(item.graph, &found);
    return found;
  }

  static const PortableBody* known_body(const FunctionDef& function,
                                        const tensorflow::FunctionDefLibrary& library) {
    try {
      return body_of(function, library);
    } catch (const std::invalid_argument&) {  // it cannot be described
      return nullptr;
    }
  }

  // Drops the calls of which some node reads a result that does not exist.
  static void remove_misread(const GraphDef& graph, Calls* found) {
    for (const NodeDef& node : graph.node()) {
      for (const std::string& input : node.input()) {
        Input read;
        const bool readable = read.read(input);
        const auto call = found->find(read.node);
        if (call == found->end()) continue;
        if (!readable || read.output >= static_cast<int>(call->second.outputs.size())) {
          found->erase(call);
        }
      }
    }
  }

  // Makes an input read the output of the op in place of the result of the call.
  static void redirect(const Calls& found, std::string* input) {
    Input read;
    if (!read.read(*input) || read.output < 0) return;
    const auto call = found.find(read.node);
    if (call == found.end()) return;
    *input = absl::StrCat(read.node, ":", call->second.outputs.at(read.output));
  }
};

// TensorFlow takes one such optimizer for each type of device, and aborts if there is a second one.
[[maybe_unused]] const bool registered = [] {
  using Registry = grappler::PluginGraphOptimizerRegistry;
  if (!Registry::CreateOptimizers({"CPU"}).empty()) return false;
  grappler::ConfigList unchanged = Registry::GetPluginConfigs(true, {});
  Registry::RegisterPluginOptimizerOrDie([] { return new UseFusedLSTM; }, "CPU", unchanged);
  return true;
}();

}  // namespace
}  // namespace lstm_impl

// Writes the digests of the results of a function, one "name=digest" per line, or "error: " and the
// reason why the function cannot be described. graph: a serialized GraphDef. Returns the length of
// the text. At most `capacity` bytes of it are written.
#pragma GCC visibility push(default)
extern "C" std::int64_t lstm_impl_result_digests(const char* graph, std::int64_t size,
                                                 const char* function, char* text,
                                                 std::int64_t capacity) {
  std::string words;
  try {
    tensorflow::GraphDef parsed;
    if (!parsed.ParseFromArray(graph, static_cast<int>(size))) {
      throw std::invalid_argument("it is no GraphDef");
    }
    const auto& functions = parsed.library().function();
    const auto found = std::find_if(functions.begin(), functions.end(), [&](const auto& each) {
      return each.signature().name() == function;
    });
    if (found == functions.end()) throw std::invalid_argument("there is no such function");
    const std::set<std::string> names(lstm_impl::kInputs.begin(), lstm_impl::kInputs.end());
    for (const auto& [name, digest] : lstm_impl::result_digests(*found, parsed.library(), names)) {
      absl::StrAppend(&words, name, "=", digest, "\n");
    }
  } catch (const std::exception& error) {
    words = absl::StrCat("error: ", error.what());
  }
  std::memcpy(text, words.data(), std::min<std::size_t>(words.size(), static_cast<std::size_t>(capacity)));
  return static_cast<std::int64_t>(words.size());
}
#pragma GCC visibility pop
