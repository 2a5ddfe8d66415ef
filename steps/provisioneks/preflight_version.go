package provisioneks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// checkVersion also tells the version that the cluster has or will have.
func (s *state) checkVersion(ctx context.Context, c *ekstypes.Cluster) (version string, problems []error, err error) {
	if c != nil {
		return aws.ToString(c.Version), nil, nil
	}
	all, err := s.versions(ctx)
	if err != nil {
		return s.spec.Version, nil, err
	}
	version = s.spec.Version
	if version == "" {
		version = defaultVersion(all)
	}
	unknown := knownVersion(version, all)
	s.env.Checked("Kubernetes version", version+supportText(version, all), unknown == nil)
	if unknown != nil {
		problems = []error{unknown}
	}
	return version, problems, nil
}

func supportText(version string, all []ekstypes.ClusterVersionInformation) string {
	for _, v := range all {
		if aws.ToString(v.ClusterVersion) == version {
			if v.VersionStatus == ekstypes.VersionStatusExtendedSupport {
				return ", extended support until " + day(v.EndOfExtendedSupportDate)
			}
			return ", standard support until " + day(v.EndOfStandardSupportDate)
		}
	}
	return ", not offered"
}

func knownVersion(version string, all []ekstypes.ClusterVersionInformation) error {
	var names []string
	for _, v := range all {
		if aws.ToString(v.ClusterVersion) == version {
			return nil
		}
		names = append(names, fmt.Sprintf("%s (standard support until %s)", aws.ToString(v.ClusterVersion), day(v.EndOfStandardSupportDate)))
	}
	return precondition("UnsupportedVersion", "version: EKS makes no clusters of Kubernetes "+version,
		"use one of "+strings.Join(names, ", ")+", or leave `version` out to take EKS's default, "+defaultVersion(all))
}

func day(t *time.Time) string {
	if t == nil {
		return "an unknown date"
	}
	return t.UTC().Format(time.DateOnly)
}
