/** What a process has used, as its /metrics tells it. */
export interface Usage {
  readonly cpuMicroseconds: number;
  readonly residentBytes: number;
}

export function usageText(): string {
  const { user, system } = process.cpuUsage();
  const usage: Usage = {
    cpuMicroseconds: user + system,
    residentBytes: process.memoryUsage.rss(),
  };
  return JSON.stringify(usage);
}

export async function usageOf(url: string): Promise<Usage> {
  return (await (await fetch(`${url}/metrics`)).json()) as Usage;
}
