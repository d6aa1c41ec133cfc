package infra_test

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
)

// row says of which type the values of an attribute are, and which service's that type is: of an AWS or Azure library a type of constants,
// of a model of AWS a shape, of a Discovery document a property or, where the value is JSON, a schema.
type row struct{ attribute, service, kind string }

// vendorTypes are the attributes whose values a cloud knows beforehand or bounds.
var vendorTypes = map[config.Cloud][]row{
	config.AWS: {
		{"aws_apigatewayv2_api.protocol_type", "apigatewayv2", "ProtocolType"},
		{"aws_apigatewayv2_domain_name.domain_name_configuration.endpoint_type", "apigatewayv2", "EndpointType"},
		{"aws_apigatewayv2_domain_name.domain_name_configuration.security_policy", "apigatewayv2", "SecurityPolicy"},
		{"aws_apigatewayv2_integration.integration_type", "apigatewayv2", "IntegrationType"},
		{"aws_cloudwatch_event_archive.description", "events", "ArchiveDescription"},
		{"aws_cloudwatch_event_archive.event_pattern", "events", "EventPattern"},
		{"aws_cloudwatch_event_archive.name", "events", "ArchiveName"},
		{"aws_cloudwatch_event_archive.retention_days", "events", "RetentionDays"},
		{"aws_cloudwatch_event_bus.description", "events", "EventBusDescription"},
		{"aws_cloudwatch_event_bus.name", "events", "EventBusName"},
		{"aws_cloudwatch_event_rule.description", "events", "RuleDescription"},
		{"aws_cloudwatch_event_rule.name", "events", "RuleName"},
		{"aws_cloudwatch_event_rule.state", "events", "RuleState"},
		{"aws_cloudwatch_metric_alarm.comparison_operator", "cloudwatch", "ComparisonOperator"},
		{"aws_cloudwatch_metric_alarm.statistic", "cloudwatch", "Statistic"},
		{"aws_dynamodb_table.attribute.name", "dynamodb", "KeySchemaAttributeName"},
		{"aws_dynamodb_table.attribute.type", "dynamodb", "ScalarAttributeType"},
		{"aws_dynamodb_table.billing_mode", "dynamodb", "BillingMode"},
		{"aws_dynamodb_table.name", "dynamodb", "TableName"},
		{"aws_dynamodb_table.ttl.attribute_name", "dynamodb", "TimeToLiveAttributeName"},
		{"aws_elasticache_serverless_cache.cache_usage_limits.data_storage.unit", "elasticache", "DataStorageUnit"},
		{"aws_elasticache_user.authentication_mode.type", "elasticache", "InputAuthenticationType"},
		{"aws_iam_openid_connect_provider.client_id_list", "iam", "clientIDType"},
		{"aws_iam_openid_connect_provider.url", "iam", "OpenIDConnectProviderUrlType"},
		{"aws_iam_role.assume_role_policy", "iam", "policyDocumentType"},
		{"aws_iam_role.description", "iam", "roleDescriptionType"},
		{"aws_iam_role.max_session_duration", "iam", "roleMaxSessionDurationType"},
		{"aws_iam_role.name", "iam", "roleNameType"},
		{"aws_iam_role.path", "iam", "pathType"},
		{"aws_iam_role_policy.name", "iam", "policyNameType"},
		{"aws_lambda_function.architectures", "lambda", "Architecture"},
		{"aws_lambda_function.logging_config.application_log_level", "lambda", "ApplicationLogLevel"},
		{"aws_lambda_function.logging_config.log_format", "lambda", "LogFormat"},
		{"aws_lambda_function.logging_config.system_log_level", "lambda", "SystemLogLevel"},
		{"aws_lambda_function.runtime", "lambda", "Runtime"},
		{"aws_lambda_function_url.authorization_type", "lambda", "FunctionUrlAuthType"},
		{"aws_lambda_function_url.invoke_mode", "lambda", "InvokeMode"},
		{"aws_lambda_permission.function_url_auth_type", "lambda", "FunctionUrlAuthType"},
		{"aws_lb.load_balancer_type", "elasticloadbalancingv2", "LoadBalancerTypeEnum"},
		{"aws_lb_listener.default_action.type", "elasticloadbalancingv2", "ActionTypeEnum"},
		{"aws_lb_listener.mutual_authentication.advertise_trust_store_ca_names", "elasticloadbalancingv2", "AdvertiseTrustStoreCaNamesEnum"},
		{"aws_lb_listener.protocol", "elasticloadbalancingv2", "ProtocolEnum"},
		{"aws_lb_target_group.target_type", "elasticloadbalancingv2", "TargetTypeEnum"},
		{"aws_route53_record.type", "route53", "RRType"},
		{"aws_scheduler_schedule.flexible_time_window.mode", "scheduler", "FlexibleTimeWindowMode"},
		{"aws_vpc_endpoint.vpc_endpoint_type", "ec2", "VpcEndpointType"},
	},
	config.GCP: {
		{"google_artifact_registry_repository.cleanup_policies.action", "artifactregistry/v1", "CleanupPolicy.action"},
		{"google_artifact_registry_repository.cleanup_policies.condition.older_than", "artifactregistry/v1", "CleanupPolicyCondition.olderThan"},
		{"google_artifact_registry_repository.cleanup_policies.condition.tag_state", "artifactregistry/v1", "CleanupPolicyCondition.tagState"},
		{"google_artifact_registry_repository.format", "artifactregistry/v1", "Repository.format"},
		{"google_cloud_run_v2_service.ingress", "run/v2", "GoogleCloudRunV2Service.ingress"},
		{"google_cloud_run_v2_service.template.timeout", "run/v2", "GoogleCloudRunV2RevisionTemplate.timeout"},
		{"google_cloud_run_v2_service.template.vpc_access.egress", "run/v2", "GoogleCloudRunV2VpcAccess.egress"},
		{"google_cloud_scheduler_job.attempt_deadline", "cloudscheduler/v1", "Job.attemptDeadline"},
		{"google_cloud_scheduler_job.http_target.body", "cloudscheduler/v1", "HttpTarget.body"},
		{"google_cloud_scheduler_job.http_target.http_method", "cloudscheduler/v1", "HttpTarget.httpMethod"},
		{"google_cloud_scheduler_job.retry_config.max_backoff_duration", "cloudscheduler/v1", "RetryConfig.maxBackoffDuration"},
		{"google_cloud_scheduler_job.retry_config.min_backoff_duration", "cloudscheduler/v1", "RetryConfig.minBackoffDuration"},
		{"google_logging_metric.metric_descriptor.metric_kind", "logging/v2", "MetricDescriptor.metricKind"},
		{"google_logging_metric.metric_descriptor.value_type", "logging/v2", "MetricDescriptor.valueType"},
		{"google_memorystore_instance.authorization_mode", "memorystore", "Instance_AuthorizationMode"},
		{"google_memorystore_instance.mode", "memorystore", "Instance_Mode"},
		{"google_memorystore_instance.node_type", "memorystore", "Instance_NodeType"},
		{"google_memorystore_instance.server_ca_mode", "memorystore", "Instance_ServerCaMode"},
		{"google_memorystore_instance.transit_encryption_mode", "memorystore", "Instance_TransitEncryptionMode"},
		{"google_monitoring_alert_policy.combiner", "monitoring/v3", "AlertPolicy.combiner"},
		{"google_monitoring_alert_policy.conditions.condition_absent.aggregations.alignment_period", "monitoring/v3", "Aggregation.alignmentPeriod"},
		{"google_monitoring_alert_policy.conditions.condition_absent.aggregations.cross_series_reducer", "monitoring/v3", "Aggregation.crossSeriesReducer"},
		{"google_monitoring_alert_policy.conditions.condition_absent.aggregations.per_series_aligner", "monitoring/v3", "Aggregation.perSeriesAligner"},
		{"google_monitoring_alert_policy.conditions.condition_absent.duration", "monitoring/v3", "MetricAbsence.duration"},
		{"google_monitoring_alert_policy.conditions.condition_threshold.aggregations.alignment_period", "monitoring/v3", "Aggregation.alignmentPeriod"},
		{"google_monitoring_alert_policy.conditions.condition_threshold.aggregations.cross_series_reducer", "monitoring/v3", "Aggregation.crossSeriesReducer"},
		{"google_monitoring_alert_policy.conditions.condition_threshold.aggregations.per_series_aligner", "monitoring/v3", "Aggregation.perSeriesAligner"},
		{"google_monitoring_alert_policy.conditions.condition_threshold.comparison", "monitoring/v3", "MetricThreshold.comparison"},
		{"google_monitoring_alert_policy.conditions.condition_threshold.duration", "monitoring/v3", "MetricThreshold.duration"},
		{"google_project_iam_audit_config.audit_log_config.log_type", "cloudresourcemanager/v1", "AuditLogConfig.logType"},
		{"google_monitoring_dashboard.dashboard_json", "monitoring/v1", "Dashboard"},
		{"google_pubsub_subscription.message_retention_duration", "pubsub/v1", "Subscription.messageRetentionDuration"},
		{"google_pubsub_subscription.retry_policy.maximum_backoff", "pubsub/v1", "RetryPolicy.maximumBackoff"},
		{"google_pubsub_subscription.retry_policy.minimum_backoff", "pubsub/v1", "RetryPolicy.minimumBackoff"},
		{"google_pubsub_topic.message_retention_duration", "pubsub/v1", "Topic.messageRetentionDuration"},
	},
	config.Azure: {
		{"azurerm_managed_redis.default_database.client_protocol", "armredisenterprise", "Protocol"},
		{"azurerm_managed_redis.default_database.clustering_policy", "armredisenterprise", "ClusteringPolicy"},
		{"azurerm_managed_redis.default_database.eviction_policy", "armredisenterprise", "EvictionPolicy"},
		{"azurerm_monitor_scheduled_query_rules_alert_v2.criteria.operator", "armmonitor", "ConditionOperator"},
		{"azurerm_monitor_scheduled_query_rules_alert_v2.criteria.time_aggregation_method", "armmonitor", "TimeAggregation"},
		{"azurerm_role_assignment.principal_type", "armauthorization", "PrincipalType"},
		{"azurerm_storage_account.account_tier", "armstorage", "SKUTier"},
		{"azurerm_storage_account.min_tls_version", "armstorage", "MinimumTLSVersion"},
	},
}

// freeConstants are attributes whose values look like those of a closed set. Each is none, or one that nobody publishes for Go.
var freeConstants = []string{
	"aws_route53_record.zone_id",                               // an id
	"aws_scheduler_schedule.schedule_expression_timezone",      // UTC, one of IANA's names
	"azurerm_service_plan.sku_name",                            // of App Service, whose library is not to be had
	"azurerm_storage_account.account_replication_type",         // part of a name that begins with the tier
	"google_cloud_run_v2_service.template.containers.env.name", // the functions' own variables
	"google_memorystore_instance.engine_version",               // a list that is longer every year
}

var (
	// constant is how most values of closed sets are written.
	constant = regexp.MustCompile(`^[A-Z][A-Z0-9]+(_[A-Z0-9]+)*$`)
	// duration is how Azure's durations are.
	duration = regexp.MustCompile(`^PT?[0-9]+[DHM]$`)
)

// vendorRuns are the runs of the modules' tests that between them make everything that the modules can make. What trusts gateways elsewhere
// on Google Cloud and Azure has no values that are not here too.
var vendorRuns = map[string][]string{
	"aws": {
		"a_document_with_everything", "a_document_with_tokens_to_renew_and_no_keys", "callers_with_client_certificates",
		"functions_in_subnets_with_endpoints", "iam_callers_of_whom_a_second_factor_is_required", "a_server_without_a_password",
		"callers_with_client_certificates_through_a_load_balancer",
	},
	"aws/federation": {"a_gateway_on_azure"},
	"gcp": {
		"a_document_with_everything", "a_document_with_every_issuer", "a_document_with_tokens_to_renew_and_no_keys",
		"services_that_send_by_way_of_a_subnet", "a_server_without_a_password", "callers_by_way_of_identity_aware_proxy",
	},
	"azure": {
		"a_document_with_everything", "a_document_with_every_issuer", "a_document_with_tokens_to_renew_and_no_keys",
		"a_server_in_a_network",
	},
}

// resourceTypes are the types of what a module's own files make.
func resourceTypes(t *testing.T, module string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(module, "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s: %v", len(files), module, err)
	}
	var types []string
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)^resource "(\w+)"`).FindAllStringSubmatch(read(t, file), -1) {
			types = append(types, m[1])
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// The providers refuse some wrong values in a plan and leave the rest to the clouds, which refuse them when they are applied. Those that
// the modules are tested with here know the names and types of attributes, and take any value.
func TestPlannedValuesAreOnesThatTheCloudsTake(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(string(cloud), func(t *testing.T) {
			t.Parallel()
			values := map[string]map[any]bool{}
			for _, module := range []string{string(cloud), string(cloud) + "/federation"} {
				if vendorRuns[module] == nil {
					continue
				}
				for attribute, all := range planned(t, module, vendorRuns[module]...) {
					for value := range all {
						collect(values, attribute, value)
					}
				}
				for _, kind := range resourceTypes(t, module) {
					if values[kind] == nil {
						t.Errorf("no run of %s in vendorRuns makes an %s", module, kind)
					}
				}
			}
			v := published(t)
			looked := slices.Clone(freeConstants)
			for _, row := range vendorTypes[cloud] {
				looked = append(looked, row.attribute)
				if len(values[row.attribute]) == 0 {
					t.Errorf("no plan has %s", row.attribute)
				}
				for value := range values[row.attribute] {
					if err := v.check(row, value); errors.Is(err, errNoModel) {
						t.Logf("%s is not checked: %v", row.attribute, err)
					} else if err != nil {
						t.Errorf("%s: %v", row.attribute, err)
					}
				}
			}
			for attribute, all := range values {
				for value := range all {
					text := fmt.Sprint(value)
					if constant.MatchString(text) && !duration.MatchString(text) && !slices.Contains(looked, attribute) {
						t.Errorf("nobody has looked at %s = %q: a row of vendorTypes says which type that is of", attribute, value)
					}
				}
			}
		})
	}
}

// An action that does not exist is granted without a word, and what it was meant for is denied.
func TestEveryActionThatIsGrantedExists(t *testing.T) {
	t.Parallel()
	initialized(t, "aws") // which has the network that the libraries come by
	// Services by the names that actions begin with.
	services := map[string]string{"bedrock": "bedrock-runtime", "logs": "cloudwatchlogs"}
	// What a permission is about that is no operation's namesake.
	others := map[string]string{
		"lambda:InvokeFunction": "lambda:Invoke",
		"sts:SetSourceIdentity": "sts:AssumeRole",
		"sts:TagSession":        "sts:AssumeRole",
		// These are about addresses and tokens, with whatever is behind them.
		"bedrock-mantle:CallWithBearerToken": "",
		"bedrock:CallWithBearerToken":        "",
		"elasticache:Connect":                "",
		"execute-api:Invoke":                 "",
		"lambda:InvokeFunctionUrl":           "",
	}
	// What is followed by an equals sign is a key of a condition.
	action := regexp.MustCompile(`"([a-z0-9-]+):([A-Z]\w*)"( *=)?`)
	v := published(t)
	found := 0
	for _, pattern := range []string{"aws/*.tf", "aws/*/*.tf"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, m := range action.FindAllStringSubmatch(read(t, file), -1) {
				if m[3] != "" {
					continue
				}
				found++
				name := m[1] + ":" + m[2]
				if other, ok := others[name]; ok {
					name = other
				}
				prefix, operation, ok := strings.Cut(name, ":")
				if !ok {
					continue
				}
				all, err := v.operations(cmp.Or(services[prefix], prefix))
				switch {
				case errors.Is(err, errNoModel):
					t.Logf("%s is not checked: %v", name, err)
				case err != nil:
					t.Errorf("%s: %s: %v", file, name, err)
				case !slices.Contains(all, operation):
					t.Errorf("%s: %s has no operation %s", file, prefix, operation)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("%d actions were found", found)
	}
}
