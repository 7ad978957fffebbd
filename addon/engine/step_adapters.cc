#include "engine/step_adapters.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace smore {

void StepAdapters::build(const StepInput& in, const StepOutput& out, const Adapters& adapters,
                         int layer_words, AdapterRows& rows) {
  for (AdapterRows::Group& group : rows.groups) {
    group.rows.clear();
    spare_rows_.push_back(std::move(group.rows));
  }
  rows.groups.clear();
  rows.probes.clear();
  controls_used_ = 0;
  row_count_ = 0;
  for (int b = 0; b < in.counts->sequences; ++b) {
    const int first = in.adapter_start[b];
    const int end = in.adapter_start[b + 1];
    for (int m = first; m < end; ++m) {
      const RouterControl* control = control_of(in, m);
      adapters.require_usable(in.adapter[m], control);
      add_rows({in.adapter[m], {}, in.adapter_scale[m], m - first, control}, in.row_start[b],
               in.row_start[b + 1], rows);
    }
    if (first < end) row_count_ += in.row_start[b + 1] - in.row_start[b];
    if (in.flags[b] & kRoutes) {
      add_probes(in, out, b, in.route_layers + int64_t{b} * layer_words, adapters, rows);
    }
  }
}

const RouterControl* StepAdapters::control_of(const StepInput& in, int member) {
  const int first = in.ban_start[member];
  const int end = in.ban_start[member + 1];
  if (first == end && in.router_temperature[member] == 1) return nullptr;
  if (controls_used_ == controls_.size()) controls_.emplace_back();
  RouterControl& control = controls_[controls_used_++];
  control.temperature = in.router_temperature[member];
  for (std::vector<int32_t>& banned : control.banned) banned.clear();
  for (int i = first; i < end; ++i) {
    const auto level = static_cast<size_t>(in.ban_level[i]);
    if (control.banned.size() <= level) control.banned.resize(level + 1);
    control.banned[level].push_back(in.ban_expert[i]);
  }
  for (std::vector<int32_t>& banned : control.banned) {
    std::sort(banned.begin(), banned.end());
    banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  }
  return &control;
}

// Sequences that an adapter changes in the same way share a group, so that its weights are read
// once for all of them.
void StepAdapters::add_rows(AdapterRows::Group member, int row, int row_end, AdapterRows& rows) {
  auto place = rows.groups.end();
  for (auto group = rows.groups.begin(); group != rows.groups.end(); ++group) {
    if (group->handle != member.handle) continue;
    place = group + 1;
    if (group->scale != member.scale || group->turn != member.turn) continue;
    if (group->control != nullptr || member.control != nullptr) continue;
    for (; row < row_end; ++row) group->rows.push_back(row);
    return;
  }
  if (!spare_rows_.empty()) {
    member.rows = std::move(spare_rows_.back());
    spare_rows_.pop_back();
  }
  for (; row < row_end; ++row) member.rows.push_back(row);
  rows.groups.insert(place, std::move(member));
}

void StepAdapters::add_probes(const StepInput& in, const StepOutput& out, int b,
                              const uint32_t* layers, const Adapters& adapters, AdapterRows& rows) {
  int64_t at = in.route_start[b];
  for (int m = in.adapter_start[b]; m < in.adapter_start[b + 1]; ++m) {
    rows.probes.push_back({in.row_start[b + 1] - 1, in.adapter[m], layers, out.route_expert + at,
                           out.route_score + at});
    at += adapters.routes(in.adapter[m], layers);
  }
  if (at == in.route_start[b + 1]) return;
  throw Error(ErrorCode::kInvalidArgument,
              "step: the routing of sequence " + std::to_string(b) + " takes " +
                  std::to_string(at - in.route_start[b]) + " pairs, it has room for " +
                  std::to_string(in.route_start[b + 1] - in.route_start[b]));
}

}  // namespace smore
