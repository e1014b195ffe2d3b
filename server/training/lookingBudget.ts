/**
 * When to look inside a run, so that looking stays within a share of the time that training takes.
 * 1. The first step and the last are always looked at, with every monitor; the second with those that take less than two steps do.
 * 2. Each monitor has an account. Every second of training pays it an equal part of the share; a look takes what it took.
 *    It may look when its account holds two of its looks, so a dear monitor looks more rarely; and when after that all accounts
 *    together still hold one look of every monitor, which is the last step's.
 * 3. What an account holds beyond three looks goes into a common pool, from which the others draw, the longest unlooked first.
 * 4. Between looks lie at least (steps left) / (places left) steps, so that the places last to the end and none is overwritten.
 */

export interface BudgetPlan {
  /** Looks are at multiples of this; null wherever the share allows. */
  readonly every: number | null;
  /** Places for looks, at least 2. */
  readonly snapshots: number;
  /** Looking time / training time; 0 never looks, 1 looks whatever it takes. */
  readonly maxShare: number;
  readonly firstStep: number;
  readonly totalSteps: number;
  readonly monitors: readonly string[];
}

interface Account {
  /** Seconds. */
  balance: number;
  /** Seconds of its latest look; null before the first. */
  cost: number | null;
  lastStep: number;
}

export interface BudgetState {
  readonly used: number;
  readonly lastStep: number;
  readonly training: number;
  readonly looking: number;
  readonly pool: number;
  readonly accounts: Readonly<Record<string, Account>>;
}

/** A monitor never looked at waits longest. */
const never = -1;

export class LookingBudget {
  readonly #plan: BudgetPlan;
  readonly #accounts: Map<string, Account>;
  #pool = 0;
  #used = 0;
  #lastStep = never;
  #training = 0;
  #looking = 0;

  constructor(plan: BudgetPlan) {
    this.#plan = plan;
    this.#accounts = new Map(plan.monitors.map((id) => [id, { balance: 0, cost: null, lastStep: never }]));
  }

  /** Looks so far: the next one's place. */
  get used(): number {
    return this.#used;
  }

  /** The step last looked at; −1 before the first look. */
  get lastStep(): number {
    return this.#lastStep;
  }

  /** Looking time / training time; 0 before the first step. */
  get share(): number {
    return this.#training > 0 ? this.#looking / this.#training : 0;
  }

  /** Whether only looks were taken that are always taken. */
  get isStarting(): boolean {
    return this.#used <= 2;
  }

  /** What a look is expected to take; the first look, at an update that is still 0, may well take less. */
  expects(id: string, seconds: number): void {
    const account = this.#accounts.get(id);
    if (account && account.cost === null) account.cost = seconds;
  }

  /** A step of training took this long. */
  trained(seconds: number): void {
    this.#training += seconds;
    const { maxShare } = this.#plan;
    for (const account of this.#accounts.values()) {
      account.balance += (maxShare * seconds) / this.#accounts.size;
      const surplus = account.cost === null ? 0 : account.balance - 3 * account.cost;
      if (surplus <= 0) continue;
      account.balance -= surplus;
      this.#pool += surplus;
    }
  }

  /** The monitors to look with after this step; none when it is not time. */
  due(step: number, isLast = step === this.#plan.totalSteps): readonly string[] {
    const { every, snapshots, maxShare, firstStep, monitors } = this.#plan;
    if (maxShare === 0 || this.#used >= snapshots || step <= this.#lastStep) return [];
    if (step === firstStep || isLast) return monitors;
    if (this.#used >= snapshots - 1) return [];
    if (step === firstStep + 1 && snapshots > 3) return monitors.filter((id) => maxShare >= 1 || (this.#accounts.get(id)!.cost ?? 0) <= 2 * this.#training);
    if (step < this.#lastStep + this.#spacing()) return [];
    if (every !== null && step % every !== 0) return [];
    return maxShare >= 1 ? monitors : this.#affordable();
  }

  /** @param seconds what each monitor took at this step */
  looked(step: number, seconds: Readonly<Record<string, number>>): void {
    this.#used++;
    this.#lastStep = step;
    for (const [id, took] of Object.entries(seconds)) {
      const account = this.#accounts.get(id)!;
      this.#looking += took;
      account.balance -= took;
      account.cost = step === this.#plan.firstStep ? Math.max(took, account.cost ?? 0) : took;
      account.lastStep = step;
      const drawn = Math.min(this.#pool, Math.max(0, took - account.balance));
      account.balance += drawn;
      this.#pool -= drawn;
    }
  }

  state(): BudgetState {
    return { used: this.#used, lastStep: this.#lastStep, training: this.#training, looking: this.#looking, pool: this.#pool, accounts: Object.fromEntries([...this.#accounts].map(([id, account]) => [id, { ...account }])) };
  }

  restore(state: BudgetState): void {
    this.#used = state.used;
    this.#lastStep = state.lastStep;
    this.#training = state.training;
    this.#looking = state.looking;
    this.#pool = state.pool;
    for (const [id, account] of Object.entries(state.accounts)) if (this.#accounts.has(id)) this.#accounts.set(id, { ...account });
  }

  /** Steps to the next look, so that those left share the places left; one place is the last step's. */
  #spacing(): number {
    const { snapshots, totalSteps } = this.#plan;
    return Math.max(1, Math.ceil((totalSteps - this.#lastStep) / (snapshots - this.#used)));
  }

  #affordable(): string[] {
    let pool = this.#pool;
    const accounts = [...this.#accounts.values()];
    let free = pool + accounts.reduce((sum, { balance, cost }) => sum + balance - (cost ?? 0), 0);
    const chosen = new Set<string>();
    const waiting = [...this.#accounts].sort(([, a], [, b]) => a.lastStep - b.lastStep || (a.cost ?? 0) - (b.cost ?? 0));
    for (const [id, { balance, cost: known }] of waiting) {
      const cost = known ?? 0;
      const missing = 2 * cost - balance;
      if (missing > pool || cost > free) continue;
      pool -= Math.max(0, missing);
      free -= cost;
      chosen.add(id);
    }
    return this.#plan.monitors.filter((id) => chosen.has(id));
  }
}
