// The whole way of a task in asynq, for the benchmark: enqueue, and a handler
// that does nothing and is counted. Reads a command a line, answers a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
)

type command struct {
	Count       int `json:"count"`
	Producers   int `json:"producers"`
	Concurrency int `json:"concurrency"` // 0 is asynq's own: the number of processors.
	// Transaction says whether each task is enqueued inside of a transaction
	// that writes a row, before it commits, as the design we come from does.
	Transaction bool `json:"transaction"`
}

type answer struct {
	Seconds float64 `json:"seconds"`
	Runs    int64   `json:"runs"`
	Unique  int64   `json:"unique"`
}

type quiet struct{}

func (quiet) Debug(...any)      {}
func (quiet) Info(...any)       {}
func (quiet) Warn(...any)       {}
func (quiet) Error(args ...any) { log.Println(args...) }
func (quiet) Fatal(args ...any) { log.Fatalln(args...) }

func main() {
	redis := asynq.RedisClientOpt{Addr: os.Getenv("REDIS_ADDRESS")}
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	check(err)
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
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
		reply, err := json.Marshal(run(redis, pool, c))
		check(err)
		fmt.Println(string(reply))
	}
}

// run makes the tasks and has them handled; both begin at the same time, as in our whole way.
func run(redis asynq.RedisClientOpt, pool *pgxpool.Pool, c command) answer {
	seen := make([]atomic.Bool, c.Count)
	var runs, unique atomic.Int64
	done := make(chan struct{})
	server := asynq.NewServer(redis, asynq.Config{Concurrency: c.Concurrency, Logger: quiet{}, LogLevel: asynq.ErrorLevel})
	check(server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		var payload struct {
			Number int `json:"number"`
		}
		if err := json.Unmarshal(task.Payload(), &payload); err != nil {
			return err
		}
		runs.Add(1)
		if !seen[payload.Number].Swap(true) && unique.Add(1) == int64(c.Count) {
			close(done)
		}
		return nil
	})))
	defer server.Shutdown()
	client := asynq.NewClient(redis)
	defer client.Close()

	startedAt := time.Now()
	var next atomic.Int64
	var producers sync.WaitGroup
	for range c.Producers {
		producers.Go(func() {
			for {
				number := int(next.Add(1)) - 1
				if number >= c.Count {
					return
				}
				enqueue(client, pool, number, c.Transaction)
			}
		})
	}
	producers.Wait()
	<-done
	return answer{Seconds: time.Since(startedAt).Seconds(), Runs: runs.Load(), Unique: unique.Load()}
}

func enqueue(client *asynq.Client, pool *pgxpool.Pool, number int, inTransaction bool) {
	payload, err := json.Marshal(map[string]int{"number": number})
	check(err)
	task := asynq.NewTask("bench:no_op", payload)
	if !inTransaction {
		_, err = client.Enqueue(task)
		check(err)
		return
	}
	ctx := context.Background()
	tx, err := pool.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "INSERT INTO bench_order (number) VALUES ($1)", number)
	check(err)
	_, err = client.Enqueue(task)
	check(err)
	check(tx.Commit(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
