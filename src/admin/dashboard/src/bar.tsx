// How much of a limit is held, as a bar. The numbers stand beside it, so screen readers skip it.

export function Bar({ value, limit, what }: { value: number; limit: number; what: string }) {
  const share = limit > 0 ? Math.min(1, value / limit) : value > 0 ? 1 : 0;
  const look = share >= 0.9 ? "full" : share >= 0.7 ? "much" : "some";
  return (
    <svg class={`holding ${look}`} viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <title>{`${value} of ${limit} ${what}`}</title>
      <rect class="room" width="100" height="8" />
      <rect class="held" width={100 * share} height="8" />
    </svg>
  );
}
