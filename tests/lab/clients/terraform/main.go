// Asks STS who it is with the library by which Terraform's AWS provider finds its credentials; see
// ../README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/hashicorp/aws-sdk-go-base/v2"
)

func client(ctx context.Context, url string, profile string) *sts.Client {
	_, loaded, diagnostics := awsbase.GetAwsConfig(ctx, &awsbase.Config{
		Profile:                 profile,
		SkipCredsValidation:     true,
		SkipRequestingAccountId: true,
		UserAgent:               awsbase.UserAgentProducts{{Name: "terraform-provider-aws"}},
	})
	if diagnostics.HasError() {
		fmt.Fprintln(os.Stderr, "terraform:", diagnostics)
		os.Exit(1)
	}
	return sts.NewFromConfig(loaded, func(o *sts.Options) { o.BaseEndpoint = aws.String(url) })
}

func main() {
	ctx := context.Background()
	seconds, err := strconv.Atoi(os.Args[2])
	check(err)
	clients := []*sts.Client{client(ctx, os.Args[1], ""), client(ctx, os.Args[1], os.Args[3])}
	rounds := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); rounds++ {
		for _, each := range clients {
			_, err := each.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			check(err)
		}
		time.Sleep(time.Second)
	}
	fmt.Println("terraform: rounds", rounds)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "terraform:", err)
		os.Exit(1)
	}
}
