/** Panels and dashboards as all of ours are: a unit and a description for each, the data source and the namespace as variables. */
import {
  BigValueColorMode,
  GraphDrawStyle,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** The variable of that name. */
const SOURCE = { type: 'prometheus', uid: '$datasource' }

/** Of Grafana's many units, those in use. `short` is a plain number. */
type Unit = 'short' | 's' | 'percentunit' | 'reqps' | 'ops' | 'bytes' | 'bool_yes_no'

interface Panel {
  readonly title: string
  /** What it shows, and what to look for. */
  readonly description: string
  readonly unit: Unit
  /** Expressions by legend. Grafana's `{{label}}` is filled in. */
  readonly series: Readonly<Record<string, string>>
}

const targets = ({ series }: Panel): DataqueryBuilder[] =>
  Object.entries(series).map(([legend, expression], at) =>
    new DataqueryBuilder()
      .refId(String.fromCharCode(65 + at))
      .expr(expression)
      .legendFormat(legend)
      .datasource(SOURCE),
  )

/** From which value on a colour is shown. */
export type Steps = readonly (readonly [from: number | null, color: 'green' | 'yellow' | 'red' | 'blue'])[]

/** The newest value of each series, large. Three of them are half a row. */
export function stat(panel: Panel, steps: Steps = [[null, 'blue']], decimals?: number): StatBuilder {
  const builder = new StatBuilder()
    .title(panel.title)
    .description(panel.description)
    .unit(panel.unit)
    .datasource(SOURCE)
    .span(4)
    .height(4)
    .targets(targets(panel))
    .colorMode(BigValueColorMode.Value)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .noValue('unknown')
    .thresholds(
      new ThresholdsConfigBuilder()
        .mode(ThresholdsMode.Absolute)
        .steps(steps.map(([value, color]) => ({ value, color }))),
    )
  return decimals === undefined ? builder : builder.decimals(decimals)
}

/** Series over time. Two of them are a row. */
export function graph(panel: Panel, { stacked = false }: { readonly stacked?: boolean } = {}): TimeseriesBuilder {
  return new TimeseriesBuilder()
    .title(panel.title)
    .description(panel.description)
    .unit(panel.unit)
    .datasource(SOURCE)
    .span(12)
    .height(8)
    .axisSoftMin(0)
    .targets(targets(panel))
    .drawStyle(GraphDrawStyle.Line)
    .showPoints(VisibilityMode.Never)
    .fillOpacity(stacked ? 40 : 8)
    .stacking(new StackingConfigBuilder().mode(stacked ? StackingMode.Normal : StackingMode.None))
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.Table)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs(['lastNotNull', 'max']),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
}

/** Rows with their panels, in order. */
export type Rows = Readonly<Record<string, readonly (StatBuilder | TimeseriesBuilder)[]>>

/** @param uid it stays the same, so that links to the dashboard do */
export function dashboard(uid: string, title: string, description: string, rows: Rows): Dashboard {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['customers'])
    .refresh('1m')
    .time({ from: 'now-3h', to: 'now' })
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder('Customers')
        .type(DashboardLinkType.Dashboards)
        .tags(['customers'])
        .asDropdown(false)
        .keepTime(true)
        .includeVars(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
    .withVariable(
      new QueryVariableBuilder('namespace')
        .label('Namespace')
        .description('Of the environment. Without namespaces: All.')
        .datasource(SOURCE)
        .query('label_values(customers_build_info, namespace)')
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .multi(true)
        .includeAll(true)
        .allValue('.*'),
    )
  for (const [row, panels] of Object.entries(rows)) {
    builder.withRow(new RowBuilder(row))
    for (const panel of panels) builder.withPanel(panel)
  }
  return builder.build()
}

/** A selector, `metric` or `metric{a="b"}`, of the chosen namespaces. */
export function here(selector: string): string {
  const [metric = '', labels] = selector.split('{')
  return `${metric}{${labels === undefined ? '' : `${labels.slice(0, -1)}, `}namespace=~"$namespace"}`
}
