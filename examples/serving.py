"""Requests with deadlines: bursty arrivals at eight devices, served by three controllers."""

import multispin_env as ms


def main(copies: int = 16, horizon: float = 30.0) -> dict[str, float]:
    """Print service metrics; return the requests in time per second of each rule."""
    scenario = ms.Scenario.preset("llama2", num_users=8)
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals("gamma", burstiness=0.25),
        lengths=ms.requests.make_lengths("geometric", mean_output=60.0),
        rate=2.0,
        level=ms.requests.ServiceLevel(ttft=1.0, tpot=0.06),
    )
    goodput = {}
    for name in ("optimal", "greedy", "load-aware"):
        run = ms.serve(ms.make_controller(name, scenario), workload, copies=copies, warm_up=5.0, horizon=horizon)
        goodput[name] = float(run.request_goodput.mean())
        ttft, tpot = run.pooled.ttft, run.pooled.tpot
        print(
            f"{name:10} {goodput[name]:.2f} requests/s in time, {run.share_missed.mean():.0%} missed, "
            f"TTFT p50 / p95 {ttft[0]:.2f} / {ttft[1]:.2f} s, TPOT p95 {1e3 * tpot[1]:.0f} ms"
        )
    return goodput


if __name__ == "__main__":
    main()
