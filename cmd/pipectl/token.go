package main

import (
	"time"

	"github.com/urfave/cli/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauth "k8s.io/client-go/pkg/apis/clientauthentication/v1"

	"pipectl.dev/steps"
)

func clusterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cluster", Usage: "`NAME` of the EKS cluster (required)"},
		&cli.StringFlag{Name: "region", Usage: "AWS `REGION` of the cluster (default: that of the environment)"},
	}
}

func (a *app) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "print a token for an EKS cluster, for kubectl's exec plugin",
		Description: "Prints an ExecCredential; `pipectl kubeconfig` writes the entry that calls it. No aws CLI is needed. Like `aws eks get-token` it\n" +
			"only signs with the caller's credentials, and asks nobody: a token for a cluster that does not exist, or that does not let the\n" +
			"caller in, is printed all the same, and refused by the cluster. A token lasts about 15 minutes.",
		Flags: clusterFlags(),
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			if c.String("cluster") == "" {
				return usage(c, "token: --cluster is required")
			}
			value, expires, err := newClients().token(c.Context, steps.EKSCluster{Name: c.String("cluster"), Region: c.String("region")})
			if err != nil {
				return err
			}
			return a.print("json", execCredential(value, expires))
		},
	}
}

func execCredential(token string, expires time.Time) clientauth.ExecCredential {
	at := metav1.NewTime(expires.UTC().Truncate(time.Second))
	return clientauth.ExecCredential{
		TypeMeta: metav1.TypeMeta{APIVersion: clientauth.SchemeGroupVersion.String(), Kind: "ExecCredential"},
		Status:   &clientauth.ExecCredentialStatus{Token: token, ExpirationTimestamp: &at},
	}
}
