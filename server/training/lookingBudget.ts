/**
 * When to look inside a run, so that looking stays within a share of the time that training takes.
 * 1. The first step and the last are always looked at, with every monitor; the second with those that take less than two steps do.
 * 2. Each monitor has an account. Every second of training pays it an equal part of the share; a look takes what it took.
 *    What it holds and what the steps left will pay, at the pace of the last ones, is spread evenly: it looks when
 *    (steps left) / (looks it can pay) steps have passed since it looked. So an account may be overdrawn on what is still to come,
 *    the beginning is seen as finely as the end, a dear monitor looks more rarely, and a look of every monitor is kept for the last step.
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
  /** Seconds a step, of the last ones; null before the first. */
  readonly pace: number | null;
  readonly pool: number;
  readonly accounts: Readonly<Record<string, Account>>;
}

/** A monitor never looked at waits longest. */
const never = -1;
/** Weight of the newest step in the pace. */
const paceWeight = 0.2;

export class LookingBudget {
  readonly #plan: BudgetPlan;
  readonly #accounts: Map<string, Account>;
  #pool = 0;
  #used = 0;
  #lastStep = never;
  #training = 0;
  #looking = 0;
  #pace: number | null = null;

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
    // The first step compiles its program, so a pace that falls is believed at once.
    this.#pace = this.#pace === null || seconds < this.#pace ? seconds : this.#pace + paceWeight * (seconds - this.#pace);
    const { maxShare } = this.#plan;
    for (const account of this.#accounts.values()) {
      account.balance += (maxShare * seconds) / this.#accounts.size;
      const surplus = account.cost === null ? 0 : account.balance - 3 * account.cost;
      if (surplus <= 0) continue;
      account.balance -= surplus;
      this.#pool += surplus;
    }
  }

  /** Time that all looks together took beside the monitors' own: keeping numbers, figures and words, and handing them on. */
  spent(seconds: number): void {
    this.#looking += seconds;
    for (const account of this.#accounts.values()) account.balance -= seconds / this.#accounts.size;
  }

  /** Looking time, in seconds. */
  get looking(): number {
    return this.#looking;
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
    return maxShare >= 1 ? monitors : this.#affordable(step);
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
    return {
      used: this.#used,
      lastStep: this.#lastStep,
      training: this.#training,
      looking: this.#looking,
      pace: this.#pace,
      pool: this.#pool,
      accounts: Object.fromEntries([...this.#accounts].map(([id, account]) => [id, { ...account }])),
    };
  }

  restore(state: BudgetState): void {
    this.#used = state.used;
    this.#lastStep = state.lastStep;
    this.#training = state.training;
    this.#looking = state.looking;
    this.#pace = state.pace;
    this.#pool = state.pool;
    for (const [id, account] of Object.entries(state.accounts)) if (this.#accounts.has(id)) this.#accounts.set(id, { ...account });
  }

  /** Steps to the next look, so that those left share the places left; one place is the last step's. */
  #spacing(): number {
    const { snapshots, totalSteps } = this.#plan;
    return Math.max(1, Math.ceil((totalSteps - this.#lastStep) / (snapshots - this.#used)));
  }

  #affordable(step: number): string[] {
    const { maxShare, totalSteps, monitors } = this.#plan;
    const accounts = [...this.#accounts.values()];
    const left = totalSteps - step;
    const income = maxShare * left * (this.#pace ?? 0);
    let pool = this.#pool;
    /** What all accounts may still spend before the last step's look. */
    let free = pool + income + accounts.reduce((sum, { balance, cost }) => sum + balance - (cost ?? 0), 0);
    const chosen = new Set<string>();
    const waiting = [...this.#accounts].sort(([, a], [, b]) => a.lastStep - b.lastStep || (a.cost ?? 0) - (b.cost ?? 0));
    for (const [id, { balance, cost: known, lastStep }] of waiting) {
      const cost = known ?? 0;
      const own = balance + pool + income / accounts.length - cost;
      if (cost > free || cost > own) continue;
      // The looks that can be paid, this one among them, spread over the steps since the last and those to come.
      if ((step - lastStep) * own < cost * left) continue;
      pool -= Math.min(pool, Math.max(0, cost - balance));
      free -= cost;
      chosen.add(id);
    }
    return monitors.filter((id) => chosen.has(id));
  }
}
