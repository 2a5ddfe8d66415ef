package cloud

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// Quota is the value of a service quota in this account and region; AWS's default where the account never asked for another.
func (s *Session) Quota(ctx context.Context, service, code string) (float64, error) {
	at := func(o *servicequotas.Options) {
		if service == "iam" && !strings.Contains(s.Region, "-gov-") && !strings.HasPrefix(s.Region, "cn-") {
			o.Region = "us-east-1" // the quotas of a service without regions are kept there and nowhere else
		}
	}
	o, err := Quotas(s).GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &service, QuotaCode: &code}, at)
	if err == nil {
		return aws.ToFloat64(o.Quota.Value), nil
	}
	if !IsNotFound(err) {
		return 0, err
	}
	d, err := Quotas(s).GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &service, QuotaCode: &code}, at)
	if err != nil {
		return 0, err
	}
	return aws.ToFloat64(d.Quota.Value), nil
}
