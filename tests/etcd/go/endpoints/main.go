// endpoints has etcd's Go client sync its endpoints, as programs do with AutoSyncInterval, and prints where it would go from
// then on, one URL a line. It then writes and reads a key there, so that the endpoints are known to work.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:        os.Args[1:],
		DialTimeout:      5 * time.Second,
		AutoSyncInterval: 50 * time.Millisecond,
	})
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	check(client.Sync(ctx))
	time.Sleep(200 * time.Millisecond)
	_, err = client.Put(ctx, "endpoints", "synced")
	check(err)
	_, err = client.Get(ctx, "endpoints")
	check(err)
	for _, endpoint := range client.Endpoints() {
		fmt.Println(endpoint)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
