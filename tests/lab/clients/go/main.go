// Asks STS who it is with the AWS SDK for Go v2; see ../README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func client(ctx context.Context, url string, options ...func(*config.LoadOptions) error) *sts.Client {
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	check(err)
	return sts.NewFromConfig(loaded, func(o *sts.Options) { o.BaseEndpoint = aws.String(url) })
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	seconds, err := strconv.Atoi(os.Args[2])
	check(err)
	clients := []*sts.Client{
		client(ctx, os.Args[1]),
		client(ctx, os.Args[1], config.WithSharedConfigProfile(os.Args[3])),
	}
	rounds := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); rounds++ {
		for _, each := range clients {
			_, err := each.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			check(err)
		}
		time.Sleep(time.Second)
	}
	fmt.Println("go: rounds", rounds)
}
