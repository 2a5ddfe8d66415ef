package aws

import (
	"fmt"
	"strings"
)

// partition is that of the region: ARNs start with it, and what they are compared with must.
func (c *Cloud) partition() string {
	switch {
	case strings.HasPrefix(c.opt.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(c.opt.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// domain is what hosts end with, and in China the principal of EC2 too.
func (c *Cloud) domain() string {
	if c.partition() == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// inPartition begins the ARN of what is in no region.
func (c *Cloud) inPartition(service string) string {
	return "arn:" + c.partition() + ":" + service + ":"
}

func (c *Cloud) iamARN() string { return c.inPartition("iam") + ":" + c.opt.Account }

// arn names a regional resource of this account.
func (c *Cloud) arn(service, rest string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", c.partition(), service, c.opt.Region, c.opt.Account, rest)
}
