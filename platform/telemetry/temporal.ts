import { createRequire } from 'node:module';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NoopSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { OpenTelemetryPlugin } from '@temporalio/interceptors-opentelemetry-v2';

/**
 * The interceptors that every worker, replay and workflow bundle of Steward has, from the first recorded history on:
 * adding them later would make old histories differ. Without an exporter they cost a header and nothing else.
 */
export function tracingPlugin(service: string): OpenTelemetryPlugin {
  return new OpenTelemetryPlugin({
    resource: resourceFromAttributes({ 'service.name': service }),
    spanProcessor: new NoopSpanProcessor(),
  });
}

/** The workflow side of the interceptors: a path for the bundler. */
export function workflowInterceptorModules(): string[] {
  return [
    createRequire(import.meta.url).resolve('@temporalio/interceptors-opentelemetry-v2/lib/workflow-interceptors'),
  ];
}
