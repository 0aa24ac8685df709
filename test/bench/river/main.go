// A task in River, for the benchmark: inserted, and worked by a handler that does
// nothing and is counted. Reads a command a line, answers a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type command struct {
	Count       int `json:"count"`
	Producers   int `json:"producers"`
	Concurrency int `json:"concurrency"`
	// Transaction says whether each job is inserted in a transaction that writes
	// a row, while the workers run; else all are there before these begin.
	Transaction bool `json:"transaction"`
}

type answer struct {
	Seconds float64 `json:"seconds"`
	Runs    int64   `json:"runs"`
	Unique  int64   `json:"unique"`
}

type noOp struct {
	Number int `json:"number"`
}

func (noOp) Kind() string { return "no_op" }

type worker struct {
	river.WorkerDefaults[noOp]
	seen         []atomic.Bool
	runs, unique atomic.Int64
}

func (w *worker) Work(_ context.Context, job *river.Job[noOp]) error {
	w.runs.Add(1)
	if !w.seen[job.Args.Number].Swap(true) {
		w.unique.Add(1)
	}
	return nil
}

const chunk = 1000

func main() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	check(err)
	config.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, config)
	check(err)
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet()})
	check(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	check(err)
	lines := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		check(err)
		var c command
		check(json.Unmarshal(line, &c))
		reply, err := json.Marshal(run(ctx, pool, c))
		check(err)
		fmt.Println(string(reply))
	}
}

// run makes the jobs and has them worked, until the last one is known to be completed.
func run(ctx context.Context, pool *pgxpool.Pool, c command) answer {
	w := &worker{seen: make([]atomic.Bool, c.Count)}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger:            quiet(),
		Workers:           workers,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.Concurrency}},
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond,
	})
	check(err)
	completed, cancel := client.SubscribeConfig(&river.SubscribeConfig{ChanSize: c.Count, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	defer cancel()
	if !c.Transaction {
		for from := 0; from < c.Count; from += chunk {
			var params []river.InsertManyParams
			for number := from; number < min(from+chunk, c.Count); number++ {
				params = append(params, river.InsertManyParams{Args: noOp{Number: number}})
			}
			_, err = client.InsertMany(ctx, params)
			check(err)
		}
	}
	startedAt := time.Now()
	check(client.Start(ctx))
	if c.Transaction {
		produce(ctx, pool, client, c)
	}
	for range c.Count {
		<-completed
	}
	seconds := time.Since(startedAt).Seconds()
	check(client.Stop(ctx))
	_, err = pool.Exec(ctx, "TRUNCATE river_job")
	check(err)
	return answer{Seconds: seconds, Runs: w.runs.Load(), Unique: w.unique.Load()}
}

func produce(ctx context.Context, pool *pgxpool.Pool, client *river.Client[pgx.Tx], c command) {
	var next atomic.Int64
	var producers sync.WaitGroup
	for range c.Producers {
		producers.Go(func() {
			for {
				number := int(next.Add(1)) - 1
				if number >= c.Count {
					return
				}
				tx, err := pool.Begin(ctx)
				check(err)
				_, err = tx.Exec(ctx, "INSERT INTO bench_order (number) VALUES ($1)", number)
				check(err)
				_, err = client.InsertTx(ctx, tx, noOp{Number: number}, nil)
				check(err)
				check(tx.Commit(ctx))
			}
		})
	}
	producers.Wait()
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
