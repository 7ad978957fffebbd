#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "residual/cost.h"
#include "tests/adapter_backends.h"
#include "tests/layered_adapter.h"

namespace smore {
namespace {

using namespace layered;

// What computing these rows does, counted from the shapes and from who was routed where.
double operations(const AdapterPlan& plan, const LinearRouting& routed, int rows) {
  double sum = 0;
  for (size_t s = 0; s < plan.sites.size(); ++s) {
    sum += rows * row_operations(plan.sites[s]);
    for (size_t l = 0; l < routed[s].size(); ++l) {
      for (const uint64_t tokens : routed[s][l]) {
        sum += static_cast<double>(tokens) * pair_operations(plan.sites[s], static_cast<int>(l));
      }
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("what adapters read counts once a call and linear, and what they compute for every row") {
  const double activations = 4.0 * kLayers * (kInputs + 2 * kOutputs);  // of one row
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    ScratchFolder folder;
    write_many(folder / "a", seed);
    const AdapterPlan plan =
        plan_adapter(open_adapter_folder(folder / "a"), base_config(), ExpertType::kStored);
    for (const uint64_t budget : {uint64_t{1} << 24, plan.info.trunk_bytes + (1 << 14)}) {
      const auto backend = adapter_backends::backend("generic");
      Adapters adapters(base_config(), {.memory_budget = budget}, *backend);
      const int handle = adapters.add(folder / "a");
      REQUIRE(adapters.acquire(handle));
      CHECK(adapters.take_traffic().bytes == 0);

      run(*backend, adapters, {handle});
      const AdapterTraffic one = adapters.take_traffic();
      CHECK(one.operations == operations(plan, adapters.routing_by_linear(handle), 1));
      double pages = 0;
      const LinearRouting routed = adapters.routing_by_linear(handle);
      for (size_t s = 0; s < routed.size(); ++s) {
        for (size_t l = 0; l < routed[s].size(); ++l) {
          for (const uint64_t tokens : routed[s][l]) {
            if (tokens > 0) pages += double(plan.sites[s].slots.levels[l].page_bytes);
          }
        }
      }
      CHECK(one.bytes == static_cast<double>(plan.trunk_bytes) + pages + activations);

      // Rows with the same values choose the same experts: more work, not more weights.
      TreeMaker maker(9);
      std::vector<float> row;
      for (int j = 0; j < kInputs; ++j) row.push_back(static_cast<float>(maker.number(1)));
      const int rows = 40;  // several works
      AdapterRows many{{{handle, {}}}};
      std::vector<float> x;
      for (int t = 0; t < rows; ++t) {
        many.groups[0].rows.push_back(t);
        x.insert(x.end(), row.begin(), row.end());
      }
      for (int layer = 0; layer < kLayers; ++layer) {
        adapter_backends::deltas(*backend, adapters, layer, Site::kUp, many, x, kInputs, kOutputs);
      }
      const AdapterTraffic all = adapters.take_traffic();
      CHECK(all.operations == rows * one.operations);
      CHECK(all.bytes == one.bytes + (rows - 1) * activations);
      CHECK(adapters.take_traffic().operations == 0);
    }
  }
}

TEST_CASE("operations are those of the matrices' shapes") {
  SitePlan site;
  site.mixture.inputs = 6;
  site.mixture.outputs = 10;
  Level level;
  level.experts = level.chosen = 1;
  level.rank = 2;
  site.mixture.levels = {level};
  CHECK(row_operations(site) == 0);
  CHECK(pair_operations(site, 0) == 2 * (2 * 6 + 10 * 2));

  // Two levels, 2 of 4 experts below 2 of 3, switch routers with a hidden layer of 5.
  site.mixture.combine = Combine::kTreeChild;
  site.mixture.projection = 7;
  site.slots.router_rows = 10;
  level.router.score = Score::kSoftmax;
  level.router.two_layer = true;
  level.router.hidden = level.router.keys = 5;
  level.chosen = 2;
  Level root = level;
  level.experts = 4;
  level.width = 8;
  level.pairs = 4;
  root.experts = 3;
  root.rank = 3;
  root.width = 9;
  root.pairs = 2;
  site.mixture.levels = {level, root};
  const double routers = 7 * 6 + 10 * 7 + 2 * (4 * 5) + 1 * (3 * 5);
  CHECK(row_operations(site) == 2 * (routers + 1 * (9 * 8) + 10 * 9));
  site.mixture.combine = Combine::kTreeAll;  // W for each child
  CHECK(row_operations(site) == 2 * (routers + 2 * (9 * 8) + 10 * 9));
  CHECK(pair_operations(site, 0) == 2 * (2 * 6 + 8 * 2));
  CHECK(pair_operations(site, 1) == 2 * (3 * 6 + 9 * 3));
  site.mixture.levels[0].router.score = Score::kCosine;  // a query of 5 and 4 keys of 5
  CHECK(row_operations(site) == 2 * (routers - 2 * (4 * 5) + 2 * (5 * 5 + 4 * 5) + 2 * 72 + 90));
}

}  // namespace smore
