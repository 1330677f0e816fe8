#include "function_digest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/node_def.pb.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/framework/types.h"

namespace lstm_impl {
namespace {

using tensorflow::AttrValue;
using tensorflow::FunctionDef;
using tensorflow::FunctionDefLibrary;
using tensorflow::NodeDef;
using tensorflow::OpDef;

// The function of a layer has about 50 nodes, calls functions of one level only, and has constants
// with a few numbers. A larger function is not one of ours, and describing it would take time and
// stack.
constexpr int kMostNodes = 1000;
constexpr int kMostLevels = 4;
constexpr std::int64_t kMostNumbers = 64;
constexpr std::size_t kMostBytes = 1 << 20;  // in the text of one node

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument(reason); }

// Adds its length to a text, so that no two sequences of texts have the same bytes.
std::string framed(const std::string& text) { return std::to_string(text.size()) + ":" + text; }

std::string described(const tensorflow::TensorShapeProto& shape) {
  if (shape.unknown_rank()) return "shape(?)";
  std::string text = "shape(";
  for (const auto& axis : shape.dim()) text += std::to_string(axis.size()) + ",";
  return text + ")";
}

// Describes the type, the shape and the bytes of a constant.
std::string described(const tensorflow::TensorProto& proto) {
  std::int64_t numbers = 1;
  for (const auto& axis : proto.tensor_shape().dim()) {
    if (axis.size() < 0 || axis.size() > kMostNumbers) refuse("it has a large constant");
    numbers *= axis.size();
    if (numbers > kMostNumbers) refuse("it has a large constant");
  }
  if (proto.tensor_shape().unknown_rank() || !tensorflow::DataTypeCanUseMemcpy(proto.dtype())) {
    refuse("it has a constant that is not of numbers");
  }
  tensorflow::Tensor tensor;
  if (!tensor.FromProto(proto)) refuse("a constant is not well-formed");
  const auto bytes = tensor.tensor_data();
  return "tensor(" + std::to_string(proto.dtype()) + "," + described(proto.tensor_shape()) + "," +
         framed(std::string(bytes.data(), bytes.size())) + ")";
}

// Returns whether a constant of a floating-point type has only zeros, whatever its size.
bool has_only_zeros(const tensorflow::TensorProto& proto) {
  if (proto.dtype() != tensorflow::DT_FLOAT && proto.dtype() != tensorflow::DT_BFLOAT16) return false;
  const auto& bytes = proto.tensor_content();
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; }) &&
         std::all_of(proto.float_val().begin(), proto.float_val().end(),
                     [](float value) { return value == 0.0f && !std::signbit(value); }) &&
         std::all_of(proto.half_val().begin(), proto.half_val().end(),
                     [](int value) { return value == 0; });
}

// Describes functions of one library.
class Describer {
 public:
  explicit Describer(const FunctionDefLibrary& library) {
    for (const FunctionDef& function : library.function()) {
      functions_[function.signature().name()] = &function;
    }
  }

  std::map<std::string, std::string> results(const FunctionDef& function,
                                             const std::set<std::string>* arguments,
                                             int level);

  std::string described(const std::string& name, const AttrValue& value, int level);

  bool has(const std::string& name) const { return functions_.count(name) > 0; }

 private:
  std::unordered_map<std::string, const FunctionDef*> functions_;
  int nodes_ = 0;

  friend class Body;
};

// Describes the nodes of one function.
class Body {
 public:
  // arguments: the arguments that constants may stand for. Null for a function that another one
  // calls; its arguments are described by their number.
  Body(Describer& describer, const FunctionDef& function,
       const std::set<std::string>* arguments, int level)
      : describer_(describer), level_(level) {
    describer.nodes_ += function.node_def_size() + 1;
    if (describer.nodes_ > kMostNodes) refuse("it has too many nodes");
    const OpDef& signature = function.signature();
    for (int number = 0; number < signature.input_arg_size(); ++number) {
      const auto& argument = signature.input_arg(number);
      if (argument.type() == tensorflow::DT_INVALID || !argument.number_attr().empty() ||
          !argument.type_list_attr().empty() || argument.is_ref()) {
        refuse("the type of an argument is not fixed");
      }
      // In a function that is called, the type belongs to the function. For the marked function,
      // the type belongs to the call.
      const std::string text =
          arguments != nullptr ? "argument " + framed(argument.name()) : "argument " + std::to_string(number);
      digests_[argument.name()] = sha256(text + " of " + std::to_string(argument.type()));
    }
    for (const NodeDef& node : function.node_def()) {
      if (digests_.count(node.name()) > 0 || nodes_.count(node.name()) > 0) {
        refuse("two nodes have one name");
      }
      nodes_[node.name()] = &node;
      if (arguments != nullptr && node.op() == "Const" && arguments->count(node.name()) > 0) {
        const auto type = node.attr().find("dtype");
        if (type == node.attr().end()) refuse("a constant has no type");
        digests_[node.name()] = sha256("argument " + framed(node.name()) + " of " +
                                       std::to_string(type->second.type()));
        constants_.insert(node.name());
      }
    }
  }

  // Returns the digest of "argument", "node:output:0", "node" or "^node".
  std::string input(const std::string& text) {
    if (!text.empty() && text[0] == '^') return "after " + node(text.substr(1));
    const std::size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    const std::string output = colon == std::string::npos ? "" : text.substr(colon);
    if (constants_.count(name) > 0) {  // read as the only output of a constant
      if (output != ":output:0") refuse("a constant has no such output");
      return node(name);
    }
    return node(name) + output;
  }

  // Refuses a stateful op that no result depends on, because TensorFlow runs it all the same.
  void check_the_rest() {
    for (const auto& [name, node] : nodes_) {
      if (digests_.count(name) > 0) continue;
      const OpDef* op = op_of(*node);
      if (op->is_stateful()) refuse("no result depends on a stateful op, " + node->op());
      for (const auto& [attribute, value] : node->attr()) {
        if (value.has_func()) refuse("no result depends on a function that it calls");
      }
    }
  }

 private:
  const OpDef* op_of(const NodeDef& node) const {
    const OpDef* op = nullptr;
    // TensorFlow would call a function of this name in place of the op.
    if (describer_.has(node.op())) refuse("it calls a function by the name of an op");
    if (!tensorflow::OpRegistry::Global()->LookUpOpDef(node.op(), &op).ok() || op == nullptr) {
      refuse("it has an unknown op");
    }
    return op;
  }

  std::string node(const std::string& name) {
    if (const auto known = digests_.find(name); known != digests_.end()) {
      if (known->second.empty()) refuse("its nodes read each other in a circle");
      return known->second;
    }
    const auto found = nodes_.find(name);
    if (found == nodes_.end()) refuse("an input is missing");
    digests_[name] = "";  // while its inputs are described
    const NodeDef& node = *found->second;
    const OpDef* op = op_of(node);
    std::string text = "op " + framed(node.op());
    // Describes the attributes in the order of their names. It leaves out those that only steer how
    // the op is run, and default values, which TensorFlow omits from some files.
    const std::map<std::string, AttrValue> attributes(node.attr().begin(), node.attr().end());
    for (const auto& [attribute, value] : attributes) {
      // If the batch is known, TensorFlow replaces the output of masked steps by a constant of the
      // size of the state. With another size, TensorFlow would broadcast the constant or refuse it.
      if (node.op() == "Const" && attribute == "value" && value.has_tensor() &&
          value.tensor().tensor_shape().dim_size() == 2 && has_only_zeros(value.tensor())) {
        text += " zeros";
        continue;
      }
      if (attribute.empty() || attribute[0] == '_' || hints().count(attribute) > 0) continue;
      const std::string words = describer_.described(attribute, value, level_);
      const auto declared = std::find_if(op->attr().begin(), op->attr().end(),
                                         [&](const auto& each) { return each.name() == attribute; });
      if (declared != op->attr().end() && declared->has_default_value() &&
          words == describer_.described(attribute, declared->default_value(), level_)) {
        continue;
      }
      text += " " + framed(attribute) + "=" + framed(words);
      if (text.size() > kMostBytes) refuse("its attributes are too long");
    }
    std::vector<std::string> before;
    for (int place = 0; place < node.input_size(); ++place) {
      const std::string& each = node.input(place);
      if (is_element_shape(node, *op, place)) {
        text += " any element shape";
        continue;
      }
      const std::string words = input(each);
      if (each[0] == '^') {
        before.push_back(words);
      } else {
        text += " " + framed(words);
      }
    }
    std::sort(before.begin(), before.end());
    before.erase(std::unique(before.begin(), before.end()), before.end());
    for (const std::string& each : before) text += " " + each;
    return digests_[name] = sha256(text);
  }

  // Returns whether a constant says which shape the elements of a list have. This shape depends on
  // the sizes of a layer, and TensorFlow only compares it with the elements.
  bool is_element_shape(const NodeDef& node, const OpDef& op, int place) const {
    if (node.op().rfind("TensorList", 0) != 0 || place >= op.input_arg_size()) return false;
    if (op.input_arg(place).name() != "element_shape") return false;
    const std::string& read = node.input(place);
    const auto found = nodes_.find(read.substr(0, read.find(':')));
    return found != nodes_.end() && found->second->op() == "Const" &&
           constants_.count(found->first) == 0;
  }

  // Attributes of While that do not change a result: the known shapes of its outputs, and how many
  // iterations may run at once.
  static const std::set<std::string>& hints() {
    static const std::set<std::string> names{"output_shapes", "parallel_iterations"};
    return names;
  }

  Describer& describer_;
  int level_;
  std::unordered_map<std::string, const NodeDef*> nodes_;
  std::unordered_map<std::string, std::string> digests_;  // of nodes and arguments
  std::set<std::string> constants_;                       // that stand for arguments
};

std::map<std::string, std::string> Describer::results(const FunctionDef& function,
                                                      const std::set<std::string>* arguments,
                                                      int level) {
  if (level > kMostLevels) refuse("its functions call each other too deeply");
  if (!function.signature().attr().empty()) refuse("it is a template of functions");
  Body body(*this, function, arguments, level);
  std::map<std::string, std::string> found;
  for (const auto& result : function.signature().output_arg()) {
    const auto read = function.ret().find(result.name());
    if (read == function.ret().end()) refuse("a result is missing");
    found[result.name()] = sha256("result " + body.input(read->second) + " of " +
                                  std::to_string(result.type()));
  }
  std::set<std::string> controls;
  for (const auto& [name, node] : function.control_ret()) controls.insert(body.input("^" + node));
  std::string after;
  for (const std::string& each : controls) after += each;
  for (auto& [name, digest] : found) digest = sha256(digest + after);
  body.check_the_rest();
  return found;
}

std::string Describer::described(const std::string& name, const AttrValue& value, int level) {
  switch (value.value_case()) {
    case AttrValue::kS:
      return "text " + framed(value.s());
    case AttrValue::kI:
      return "int " + std::to_string(value.i());
    case AttrValue::kF: {
      const float number = value.f();
      std::uint32_t bits;
      std::memcpy(&bits, &number, sizeof(bits));
      return "float " + std::to_string(bits);
    }
    case AttrValue::kB:
      return value.b() ? "true" : "false";
    case AttrValue::kType:
      return "type " + std::to_string(value.type());
    case AttrValue::kShape:
      return lstm_impl::described(value.shape());
    case AttrValue::kTensor:
      return lstm_impl::described(value.tensor());
    case AttrValue::kFunc: {
      const auto function = functions_.find(value.func().name());
      if (function == functions_.end()) refuse("a function that it calls is missing");
      for (const auto& [attribute, each] : value.func().attr()) {
        if (attribute.empty() || attribute[0] != '_') refuse("it calls a template of functions");
      }
      std::string text = "function";
      const auto digests = results(*function->second, nullptr, level + 1);
      // Visits the outputs in the order of the results, because the names of nodes may change.
      for (const auto& result : function->second->signature().output_arg()) {
        text += " " + digests.at(result.name());
      }
      return text;
    }
    case AttrValue::kList: {
      const auto& list = value.list();
      std::string text = "list";
      for (const auto& each : list.s()) text += " " + framed(each);
      for (const auto each : list.i()) text += " int " + std::to_string(each);
      for (const auto each : list.b()) text += each ? " true" : " false";
      for (const auto each : list.type()) text += " type " + std::to_string(each);
      for (const auto& each : list.shape()) text += " " + lstm_impl::described(each);
      if (list.f_size() + list.tensor_size() + list.func_size() > 0) {
        refuse("its attribute " + name + " is a list of floats, tensors or functions");
      }
      return text;
    }
    default:
      refuse("its attribute " + name + " has no value");
  }
}

std::uint32_t rotated(std::uint32_t word, int by) { return (word >> by) | (word << (32 - by)); }

// Returns the first 32 bits of the fractional parts of roots of the first primes. FIPS 180-4 uses
// these numbers so that nobody could choose its constants. A double has 53 bits, and roots up to
// 17.6 need 32 + 5 of them.
template <std::size_t kCount, class Root>
std::array<std::uint32_t, kCount> fractions(const Root& root) {
  std::array<std::uint32_t, kCount> found{};
  std::size_t count = 0;
  for (int number = 2; count < kCount; ++number) {
    bool prime = true;
    for (int factor = 2; factor * factor <= number; ++factor) prime = prime && number % factor != 0;
    if (!prime) continue;
    const double value = root(static_cast<double>(number));
    found[count++] = static_cast<std::uint32_t>((value - std::floor(value)) * 4294967296.0);
  }
  return found;
}

}  // namespace

std::string sha256(const std::string& bytes) {
  static const auto kRounds = fractions<64>([](double number) { return std::cbrt(number); });
  auto state = fractions<8>([](double number) { return std::sqrt(number); });
  std::string padded = bytes + '\x80';
  while (padded.size() % 64 != 56) padded += '\0';
  const std::uint64_t bits = 8 * static_cast<std::uint64_t>(bytes.size());
  for (int shift = 56; shift >= 0; shift -= 8) padded += static_cast<char>(bits >> shift & 255);
  for (std::size_t block = 0; block < padded.size(); block += 64) {
    std::array<std::uint32_t, 64> words{};
    for (std::size_t k = 0; k < 64; ++k) {
      const auto byte = static_cast<unsigned char>(padded[block + k]);
      words[k / 4] |= static_cast<std::uint32_t>(byte) << (24 - 8 * (k % 4));
    }
    for (std::size_t k = 16; k < 64; ++k) {
      const std::uint32_t a = words[k - 15], b = words[k - 2];
      words[k] = words[k - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ (a >> 3)) + words[k - 7] +
                 (rotated(b, 17) ^ rotated(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t k = 0; k < 64; ++k) {
      const std::uint32_t first = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                                  ((e & f) ^ (~e & g)) + kRounds[k] + words[k];
      const std::uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                                   ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::array<std::uint32_t, 8> made{a, b, c, d, e, f, g, h};
    for (std::size_t k = 0; k < 8; ++k) state[k] += made[k];
  }
  std::string text;
  for (const std::uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  }
  return text;
}

std::map<std::string, std::string> result_digests(const FunctionDef& function,
                                                  const FunctionDefLibrary& library,
                                                  const std::set<std::string>& arguments) {
  Describer describer(library);
  return describer.results(function, &arguments, 0);
}

}  // namespace lstm_impl
