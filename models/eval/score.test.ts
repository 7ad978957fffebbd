import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Checker } from "./checker.js";
import { contestants } from "./contestants.js";
import { type Answered, inTurn, mixedJobs, table } from "./score.js";
import { readTasks, type Task, taskNames } from "./tasks.js";

const task = (name: string, cases: number): Task => ({
  name,
  check: "text",
  instruction: "",
  cases: Array.from({ length: cases }, (_, i) => ({ messages: [], expected: `${name} ${i}` })),
});
const base = { label: "base", model: "b", opening: [] };
const adapter = { label: "adapter", model: "a", opening: [] };

describe("jobs of an evaluation", () => {
  it("take turns over tasks and contestants, so that neighbours differ", () => {
    const tasks = new Map([
      [task("x", 2), [base, adapter]],
      [task("y", 1), [base]],
    ]);
    const order = mixedJobs(tasks).map((job) => `${job.case.expected} ${job.contestant.label}`);
    assert.deepEqual(order, ["x 0 base", "x 0 adapter", "y 0 base", "x 1 base", "x 1 adapter"]);
  });

  it("run as many at once as asked, with results in their own order", async () => {
    let running = 0;
    let most = 0;
    const results = await inTurn([5, 1, 4, 2, 3], 2, async (item) => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < item; turn += 1) await Promise.resolve();
      running -= 1;
      return item * 10;
    });
    assert.deepEqual(results, [50, 10, 40, 20, 30]);
    assert.equal(most, 2);
  });

  it("end with the first failure", async () => {
    const fail = async () => Promise.reject(new Error("gone"));
    await assert.rejects(inTurn([1, 2], 2, fail), /gone/);
  });
});

describe("contestants", () => {
  const levels = new Map([
    ["x", [{ experts: 4, active: 2 }]],
    [
      "mixed",
      [
        { experts: 3, active: 1 },
        { experts: 2, active: 2 },
      ],
    ],
  ]);

  it("are the base and the task's adapter, also with every node's first experts alone", () => {
    const told = { role: "system", content: "Do x." };
    const x = { ...task("x", 1), instruction: told.content };
    assert.deepEqual(contestants(x, { base: "b", mixed: undefined }, levels), [
      { label: "base", model: "b", opening: [] },
      { label: "base, told", model: "b", opening: [told] },
      { label: "adapter", model: "x", opening: [] },
      {
        label: "one sub-tree",
        model: "x",
        opening: [],
        router: { force: [{ level: 0, experts: [0, 1] }] },
      },
    ]);
  });

  it("are joined by the adapter for all tasks, with the levels of its own trees", () => {
    const all = contestants(task("x", 1), { base: "b", mixed: "mixed" }, levels);
    const force = [
      { level: 0, experts: [0] },
      { level: 1, experts: [0, 1] },
    ];
    assert.deepEqual(all.slice(4), [
      { label: "mixed", model: "mixed", opening: [] },
      { label: "mixed, one sub-tree", model: "mixed", opening: [], router: { force } },
    ]);
  });
});

describe("the table of scores", () => {
  it("has a row for each task and a column for each contestant", () => {
    const [x, y] = [task("x", 3), task("task-y", 1)];
    const answers: Answered[] = [
      ...x.cases.map((item, i) => ({ item, contestant: base, right: i === 0 })),
      ...x.cases.map((item) => ({ item, contestant: adapter, right: true })),
    ].map(({ item, contestant, right }) => ({
      task: x,
      case: item,
      contestant,
      answer: "",
      right,
    }));
    for (const contestant of [base, adapter]) {
      answers.push({ task: y, case: y.cases[0]!, contestant, answer: "", right: false });
    }
    assert.deepEqual(table(answers).split("\n"), [
      "task    cases   base  adapter",
      "x           3  33.3%   100.0%",
      "task-y      1   0.0%     0.0%",
    ]);
  });
});

describe("the checker", () => {
  it("takes every task's own answers and no other answer", async (test) => {
    const checker = new Checker();
    test.after(() => checker.close());
    for (const { name, check, cases, instruction } of await readTasks(await taskNames(), 10)) {
      assert.equal(cases.length, 10);
      assert.ok(instruction.length > 20);
      const right = (answer: string) =>
        Promise.all(cases.map((item) => checker.right(check, item, answer)));
      const own = cases.map((item) => checker.right(check, item, item.expected));
      assert.deepEqual(
        await Promise.all(own),
        cases.map(() => true),
        name,
      );
      assert.deepEqual(
        await right("I do not know."),
        cases.map(() => false),
        name,
      );
    }
  });

  it("says so when it fails, to those who wait and to those who ask later", async (test) => {
    const checker = new Checker();
    test.after(() => checker.close());
    const ask = () => checker.right("no such check", { messages: [], expected: "" }, "");
    await assert.rejects(ask(), /check\.py ended with code 1/);
    await assert.rejects(ask(), /check\.py ended with code 1/);
  });
});

describe("tasks", () => {
  it("are refused by name when there is none such", async () => {
    await assert.rejects(readTasks(["poems"]), /there is no task poems; tasks are arithmetic/);
  });
});
